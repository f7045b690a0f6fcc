// The page.

import "katex/dist/katex.min.css";
import "./styles/page.css";

import { render } from "preact";

import { App } from "./App";
import { loadConversations } from "./chats";
import { watchServer } from "./status";
import { loadTabs } from "./tabs";
import { texts } from "./texts";

const place = document.getElementById("app");
if (place) {
  try {
    await Promise.all([loadTabs(), loadConversations()]);
    watchServer();
    render(<App />, place);
  } catch {
    place.textContent = texts.errors.noTabs;
  }
}
