// Where the page is: `#/chat/ID`, `#/math`, `#/compare`, `#/engine`.

import { signal } from "@preact/signals";

const read = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);

/** The parts of the address behind the hash. */
export const route = signal(read());

addEventListener("hashchange", () => {
  route.value = read();
});

export function navigate(to: string) {
  location.hash = `#/${to}`;
  // The event comes later; what is shown must not wait for it.
  route.value = read();
}
