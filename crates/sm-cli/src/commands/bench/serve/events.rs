//! Server-sent events, as far as OpenAI's streams use them: the data of each event.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Bytes after the last whole line.
    rest: Vec<u8>,
    /// Data of the event whose end has not come yet.
    data: String,
}

impl Events {
    /// Takes some bytes; appends the data of the events that are complete.
    pub(super) fn push(&mut self, bytes: &[u8], complete: &mut Vec<String>) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() && !self.data.is_empty() {
                complete.push(std::mem::take(&mut self.data));
            }
            if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let stream =
            "data: {\"a\": \"é\"}\n\n: a comment\n\nevent: x\r\ndata:1\r\ndata: 2\r\n\r\ndata: [DONE]\n\n";
        for size in 1..stream.len() {
            let (mut events, mut complete) = (Events::default(), Vec::new());
            stream.as_bytes().chunks(size).for_each(|bytes| events.push(bytes, &mut complete));
            assert_eq!(complete, ["{\"a\": \"é\"}", "1\n2", "[DONE]"], "in pieces of {size}");
        }
    }
}
