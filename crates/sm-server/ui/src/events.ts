// Server-sent events of a response to POST, which the browser's EventSource cannot read.

export interface ServerEvent {
  name: string;
  data: string;
}

/** The events of a body, as they come. Comments are skipped. */
export async function* serverEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let event: ServerEvent & { lines: string[] } = { name: "message", data: "", lines: [] };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const lines = rest.split(/\r?\n/);
      // The last line may be incomplete.
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (event.lines.length > 0) yield { name: event.name, data: event.lines.join("\n") };
          event = { name: "message", data: "", lines: [] };
        } else if (line.startsWith("event:")) {
          event.name = line.slice("event:".length).trim();
        } else if (line.startsWith("data:")) {
          event.lines.push(line.slice("data:".length).replace(/^ /, ""));
        }
      }
    }
  } finally {
    // A reader who leaves early ends the request, which the server then cancels.
    await reader.cancel().catch(() => undefined);
  }
}
