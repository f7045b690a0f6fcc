//! From the events of a chat to the parts of its answer, for APIs that tell thoughts, text and calls apart.

use std::hash::{DefaultHasher, Hash, Hasher};

use sm_runtime::{Completion, ModelHandle, Prompt, TokenEvent, TokenId};

use crate::app::App;
use crate::chat::{Answer, AnswerFormat, Piece, Splitter, ToolForm};
use crate::error::ApiError;
use crate::generation::{Chunks, Generation};
use crate::interval::Interval;
use crate::openai::create::id;
use crate::wire::openai::{Call, ChatReading};

/// Writes the parts of an answer in the form of an API.
pub(crate) trait PartWriter: Unpin + Send {
    /// What is sent.
    type Item;

    /// Before the first part.
    fn begin(&mut self, items: &mut Vec<Self::Item>);

    /// Notes an event whose text, if it has any, comes as the next parts or later ones.
    fn note(&mut self, _event: &TokenEvent, _items: &mut Vec<Self::Item>) {}

    /// For a part.
    fn part(&mut self, part: Piece, items: &mut Vec<Self::Item>);

    /// After the last part.
    fn end(&mut self, outcome: Result<Completion, ApiError>, items: &mut Vec<Self::Item>);
}

/// Tells the parts of one answer apart as its events come.
#[derive(Debug)]
pub(crate) struct Parts<W> {
    /// `None` for text that no template asked for: all of it is content.
    splitter: Option<Splitter>,
    interval: Interval,
    writer: W,
}

impl<W: PartWriter> Parts<W> {
    /// The parts of a generation, whose text is sent at its interval.
    pub(crate) fn new(generation: &Generation, splitter: Option<Splitter>, writer: W) -> Self {
        Self { splitter, interval: Interval::new(generation.stream_interval), writer }
    }

    fn push(&mut self, text: String, items: &mut Vec<W::Item>) {
        let parts = match &mut self.splitter {
            Some(splitter) => splitter.push(&text),
            None if text.is_empty() => Vec::new(),
            None => vec![Piece::Content(text)],
        };
        self.write(parts, items);
    }

    fn write(&mut self, parts: Vec<Piece>, items: &mut Vec<W::Item>) {
        parts.into_iter().for_each(|part| self.writer.part(part, items));
    }
}

impl<W: PartWriter> Chunks for Parts<W> {
    type Item = W::Item;

    fn begin(&mut self, items: &mut Vec<W::Item>) {
        self.writer.begin(items);
    }

    fn event(&mut self, event: TokenEvent, items: &mut Vec<W::Item>) {
        self.writer.note(&event, items);
        let text = self.interval.text(&event);
        self.push(text, items);
        if event.finish_reason.is_some() {
            let rest = self.splitter.as_mut().map(Splitter::finish).unwrap_or_default();
            self.write(rest, items);
        }
    }

    fn end(&mut self, outcome: Result<Vec<Completion>, ApiError>, items: &mut Vec<W::Item>) {
        let rest = self.interval.rest();
        self.push(rest, items);
        let outcome = outcome.and_then(only);
        self.writer.end(outcome, items);
    }
}

/// The completion of a request for one choice.
///
/// # Errors
/// If there is none, which the engine does not let happen.
pub(crate) fn only(mut completions: Vec<Completion>) -> Result<Completion, ApiError> {
    completions.pop().ok_or_else(ApiError::no_answer)
}

/// A chat that runs, and how to read its answer.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) generation: Generation,
    reading: ChatReading,
    seed: u64,
}

impl Answering {
    /// Queues a chat.
    ///
    /// # Errors
    /// As [`Generation::start`].
    pub(crate) async fn start(app: &App, model: ModelHandle, call: Call) -> Result<Self, ApiError> {
        Self::start_after(app, model, None, call).await
    }

    /// Queues a chat whose messages follow a context: earlier messages and answers as tokens.
    ///
    /// # Errors
    /// As [`Answering::start`].
    pub(crate) async fn start_after(
        app: &App,
        model: ModelHandle,
        context: Option<Vec<TokenId>>,
        mut call: Call,
    ) -> Result<Self, ApiError> {
        let form = app.config().tool_form;
        let (generation, reading) = Generation::start_with(app, model, move |model| {
            let reading = call.prepare(model.model(), form)?;
            let mut request = call.request;
            if let (Some(context), Prompt::Messages(messages)) = (context, &request.prompt) {
                request.prompt = Prompt::Tokens(model.prompt_after_answer(context, messages)?);
            }
            Ok((request, reading))
        })
        .await?;
        // A prompt that is no chat has no thoughts or calls.
        let plain =
            || ChatReading { format: AnswerFormat::new(ToolForm::Hermes, &[]), start: generation.start };
        let reading = reading.unwrap_or_else(plain);
        let mut hasher = DefaultHasher::new();
        id().hash(&mut hasher);
        Ok(Self { generation, reading, seed: hasher.finish() })
    }

    /// Tells the parts of the answer apart while it comes.
    pub(crate) fn splitter(&self) -> Splitter {
        self.reading.format.splitter(self.reading.start, self.seed)
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// If the request fails.
    pub(crate) async fn finish(self) -> Result<(Answer, Completion), ApiError> {
        let Self { generation, reading: ChatReading { format, start }, seed } = self;
        let completion = only(generation.finish().await?)?;
        Ok((format.answer(&completion.text, start, seed), completion))
    }
}
