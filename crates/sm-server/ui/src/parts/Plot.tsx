// A small plot of the last values of a figure.

import { texts } from "../texts";

/** Values of two minutes, one a second. */
export const N_VALUES = 120;

const [WIDTH, HEIGHT] = [240, 56];

interface Props {
  name: string;
  /** The latest last. */
  values: number[];
  /** The top of the plot, where the figure has a limit. */
  limit?: number | undefined;
  shown: (value: number) => string;
}

export function Plot({ name, values, limit, shown }: Props) {
  const highest = Math.max(...values, 0);
  const top = Math.max(limit ?? 0, highest, 1);
  const x = (index: number) => (WIDTH * (N_VALUES - values.length + index)) / (N_VALUES - 1);
  const y = (value: number) => HEIGHT - 1 - ((HEIGHT - 4) * value) / top;
  const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  const latest = shown(values.at(-1) ?? 0);
  const area = points.length > 0 ? `${x(0).toFixed(1)},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` : "";
  return (
    <figure class="plot">
      <figcaption>
        <span>{name}</span>
        <span class="figure">
          <strong>{latest}</strong>
          {limit !== undefined && <small> {texts.engine.of(limit)}</small>}
        </span>
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={texts.engine.plot(name, latest, shown(highest))}>
        <line class="plot-base" x1="0" x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
        <polygon class="plot-area" points={area} />
        <polyline class="plot-line" points={points.join(" ")} />
      </svg>
    </figure>
  );
}
