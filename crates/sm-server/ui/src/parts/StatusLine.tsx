// Whether the server can be reached.

import { check, status } from "../status";
import { apiUrl, config } from "../tabs";
import { texts } from "../texts";
import { openPreferences } from "./Preferences";

export function StatusLine() {
  const { state, progress = 0 } = status.value;
  const t = texts.status;
  const text = state === "loading" ? t.loading(Math.round(progress * 100)) : t[state];
  return (
    <p class={`status ${state}`} role="status" title={apiUrl()}>
      <span class="dot" aria-hidden="true" />
      <span class="status-text">{text}</span>
    </p>
  );
}

/** What to do about a server that does not answer. */
export function Remedy() {
  const { state, error } = status.value;
  const t = texts.status;
  switch (state) {
    case "unreachable": {
      const other = config.value.api_url;
      return (
        <div class="remedy" role="alert">
          <strong>{t.unreachable}.</strong> {other ? t.remedyOther(other) : t.remedySame}{" "}
          <code>{other ? `sm serve --cors-allow-origin ${location.origin}` : "sm serve"}</code>
          <button type="button" class="quiet" onClick={() => void check()}>{t.retry}</button>
        </div>
      );
    }
    case "key":
      return (
        <div class="remedy" role="alert">
          <strong>{t.key}.</strong> {t.remedyKey}
          <button type="button" class="quiet" onClick={openPreferences}>{t.openPreferences}</button>
        </div>
      );
    case "failed":
      return <div class="remedy" role="alert"><strong>{t.failed}.</strong> {error}</div>;
    default:
      return null;
  }
}
