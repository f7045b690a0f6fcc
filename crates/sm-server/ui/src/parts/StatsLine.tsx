// How long an answer took, and how many tokens it has.

import type { Stats } from "../answer";
import { texts } from "../texts";

export function StatsLine({ stats }: { stats: Stats }) {
  const t = texts.stats;
  const { firstMs, perSecond, tokens, promptTokens, cachedTokens, serverMs, seed } = stats;
  const entries: [string, string | undefined, string?][] = [
    [t.first, firstMs === undefined ? undefined : t.ms(firstMs), t.firstHint],
    [t.speed, perSecond === undefined ? undefined : t.perSecond(perSecond)],
    [t.tokens, tokens === undefined ? undefined : t.number(tokens)],
    [t.prompt, promptTokens === undefined ? undefined : t.cached(promptTokens, cachedTokens ?? 0)],
    [t.server, serverMs === undefined ? undefined : t.ms(serverMs), t.serverHint],
    [t.seed, seed === undefined ? undefined : String(seed)],
  ];
  const known = entries.filter(([, value]) => value !== undefined);
  if (firstMs === undefined) return null;
  return (
    <dl class="stats">
      {known.map(([name, value, hint]) => (
        <div key={name} title={hint}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
