// The frame of the page: views, conversations, and settings beside them.

import { useEffect, useState } from "preact/hooks";

import { stopAll } from "./chats";
import { focusInput } from "./parts/Composer";
import { Controls } from "./parts/Controls";
import { IconButton } from "./parts/Icon";
import { Preferences, openPreferences } from "./parts/Preferences";
import { Sidebar, startConversation } from "./parts/Sidebar";
import { Remedy, StatusLine } from "./parts/StatusLine";
import { resetSampling, samplingOf, setSampling } from "./preferences";
import { route } from "./route";
import { announcement } from "./status";
import { type Tab, defaultsOf, tabs } from "./tabs";
import { texts } from "./texts";
import { ChatView } from "./views/ChatView";
import { CompareView } from "./views/CompareView";
import { EngineView } from "./views/EngineView";
import { ProblemView } from "./views/ProblemView";

/** Views that are no tabs of the file. */
const VIEWS = { compare: CompareView, engine: EngineView } as const;

const isWide = () => matchMedia("(min-width: 1200px)").matches;

export function App() {
  const [showsChats, setShowsChats] = useState(isWide);
  const [showsControls, setShowsControls] = useState(isWide);
  const [name = "", id] = route.value;
  const View = name in VIEWS ? VIEWS[name as keyof typeof VIEWS] : undefined;
  const tab = View ? undefined : (tabs.value.find((each) => each.id === name) ?? tabs.value[0]);
  const isChat = tab?.kind === "chat";
  useShortcuts(isChat ? id : undefined);
  useEffect(() => {
    const title = tab?.title ?? texts.nav[name as "compare" | "engine"];
    document.title = title ? `${title} · ${texts.name}` : texts.name;
  }, [tab, name]);
  const closeOverlay = () => isWide() || setShowsChats(false);
  const t = texts.nav;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        document.getElementById("main")?.focus();
      }}>{texts.skip}</a>
      <header class="top">
        {isChat && <IconButton name="menu" label={t.menu} isPressed={showsChats} onClick={() => setShowsChats(!showsChats)} />}
        <h1><img src="ui/icon.svg" alt="" width="24" height="24" />{texts.name}</h1>
        <nav aria-label={t.label}>
          {[...tabs.value.map(({ id, title }) => [id, title]), ["compare", t.compare], ["engine", t.engine]].map(([to, title]) => (
            <a key={to} href={`#/${to}`} aria-current={(tab?.id ?? name) === to ? "page" : undefined}>{title}</a>
          ))}
        </nav>
        <StatusLine />
        {tab && <IconButton name="sliders" label={t.controls} isPressed={showsControls} onClick={() => setShowsControls(!showsControls)} />}
        <IconButton name="gear" label={t.preferences} onClick={openPreferences} />
      </header>
      <Remedy />
      <div class="body">
        {isChat && showsChats && <aside class="sidebar" aria-label={texts.chats.label}><Sidebar onChoose={closeOverlay} /></aside>}
        <main id="main" tabIndex={-1}>
          {View ? <View /> : tab && (isChat ? <ChatView tab={tab} id={id} /> : <ProblemView key={tab.id} tab={tab} />)}
        </main>
        {tab && showsControls && <Panel tab={tab} onClose={() => setShowsControls(false)} />}
      </div>
      <Preferences />
      <p class="visually-hidden" aria-live="polite">{announcement.value}</p>
    </>
  );
}

function Panel({ tab, onClose }: { tab: Tab; onClose: () => void }) {
  return (
    <aside class="panel" aria-label={texts.nav.controls}>
      <div class="panel-head">
        <h2>{texts.controls.title}</h2>
        <IconButton name="close" label={texts.controls.close} onClick={onClose} />
      </div>
      <Controls
        sampling={samplingOf(tab.id, defaultsOf(tab))} isChat={tab.kind === "chat"}
        onChange={(change) => setSampling(tab.id, change)} onReset={() => resetSampling(tab.id)}
      />
    </aside>
  );
}

function useShortcuts(conversation: string | undefined) {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      const isTyping = ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
      if (document.querySelector("dialog[open]")) return;
      if (event.key === "Escape" && conversation && stopAll(conversation)) event.preventDefault();
      if (event.key === "/" && !isTyping) {
        event.preventDefault();
        focusInput();
      }
      if (event.key.toLowerCase() === "o" && event.shiftKey && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        startConversation();
        focusInput();
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [conversation]);
}
