// Icons, drawn with lines of the text's colour.

const PATHS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  sliders: "M4 8h8M18 8h2M4 16h2M12 16h8M15 5v6M9 13v6",
  gear: "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM19 12l2-1.5-2-3.4-2.3.9a7 7 0 0 0-1.7-1L14.6 4h-4l-.4 3a7 7 0 0 0-1.7 1l-2.3-.9-2 3.4L6 12l-1.8 1.5 2 3.4 2.3-.9a7 7 0 0 0 1.7 1l.4 3h4l.4-3a7 7 0 0 0 1.7-1l2.3.9 2-3.4Z",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7Z",
  copy: "M9 9h10v10H9ZM5 15V5h10",
  edit: "M5 19h3L19 8l-3-3L5 16ZM14 7l3 3",
  again: "M19 12a7 7 0 1 1-2-5M19 4v4h-4",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  close: "M6 6l12 12M18 6 6 18",
  bars: "M5 19V9M12 19V5M19 19v-7",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  play: "M8 5l11 7-11 7Z",
};

export type IconName = keyof typeof PATHS;

export const Icon = ({ name }: { name: IconName }) => (
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={PATHS[name]} />
  </svg>
);

/** A button that shows an icon and says what it does. */
export function IconButton(props: {
  name: IconName;
  label: string;
  onClick: () => void;
  isPressed?: boolean;
  isDisabled?: boolean;
  class?: string;
}) {
  const { name, label, onClick, isPressed, isDisabled } = props;
  return (
    <button
      type="button"
      class={`icon-button ${props.class ?? ""}`}
      aria-label={label}
      title={label}
      aria-pressed={isPressed}
      disabled={isDisabled}
      onClick={onClick}
    >
      <Icon name={name} />
    </button>
  );
}
