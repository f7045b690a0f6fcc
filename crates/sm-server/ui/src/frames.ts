// Draws at most once a frame, however fast tokens come.

/** A drawing that is requested often and done when the browser is ready for it. */
export function frames(draw: () => void) {
  let requested: number | undefined;
  return {
    request() {
      requested ??= requestAnimationFrame(() => {
        requested = undefined;
        draw();
      });
    },
    cancel() {
      if (requested !== undefined) cancelAnimationFrame(requested);
      requested = undefined;
    },
  };
}
