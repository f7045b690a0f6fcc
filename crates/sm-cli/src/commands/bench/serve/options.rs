//! The options, by the names that `vllm bench serve` gives them.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};
use sm_runtime::{Loader, ModelRef};

use crate::args::DEMO;
use crate::failure::Failure;

/// Measure a server's latency and throughput
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm bench serve
  sm bench serve --port 8080 --dataset-name random --random-input-len 512 --random-output-len 64 \\
    --num-prompts 200 --request-rate 4
  sm bench serve --max-concurrency 8 --dataset-name prefix_repetition --goodput ttft:500 tpot:50
  sm bench serve --dataset-name trace --dataset-path conversation_trace.jsonl --trace-scale 0.05

Works with any server that has OpenAI's /v1/completions or /v1/chat/completions and streams.
TTFT is the time to the first text, TPOT the mean time per token after the first, ITL the time between two
chunks of a stream, E2EL the time to the end. Counts of tokens are the server's; times are this client's.")]
pub(crate) struct Args {
    /// API to call
    #[arg(long, value_enum, default_value = "openai")]
    pub(super) backend: Backend,
    /// URL of the server, without a path [default: http://HOST:PORT]
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Host of the server
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of the server
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Path of the endpoint [default: that of the API]
    #[arg(long, value_name = "PATH")]
    endpoint: Option<String>,
    /// Model to ask for [default: the first that the server lists]
    #[arg(short, long, visible_alias = "served-model-name", value_name = "NAME")]
    pub(super) model: Option<String>,
    /// Header of each request, as in "Authorization=Bearer KEY"
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    pub(super) header: Vec<Pair>,
    /// Fields added to each request's body, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(super) extra_body: Option<Map<String, Value>>,
    /// Model or tokenizer to count the tokens of prompts with
    #[arg(long, default_value = DEMO, value_name = "MODEL")]
    tokenizer: PathBuf,
    #[command(flatten)]
    pub(super) dataset: DatasetArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// The API of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Backend {
    /// /v1/completions
    #[value(alias = "vllm")]
    Openai,
    /// /v1/chat/completions
    OpenaiChat,
}

impl Backend {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::OpenaiChat => "openai-chat",
        }
    }
}

/// Where prompts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum DatasetName {
    /// Random tokens
    Random,
    /// Conversations in ShareGPT's JSON, at --dataset-path
    Sharegpt,
    /// JSON lines with "prompt" and perhaps "output_tokens", at --dataset-path
    Custom,
    /// A few prefixes, each with many endings
    #[value(name = "prefix_repetition")]
    PrefixRepetition,
    /// Arrivals, lengths and shared prefixes of a trace in Mooncake's JSON lines, at --dataset-path
    Trace,
}

/// What is sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Requests")]
pub(super) struct DatasetArgs {
    /// Source of prompts
    #[arg(long, value_enum, default_value = "random")]
    pub(super) dataset_name: DatasetName,
    /// File of prompts
    #[arg(long, value_name = "FILE")]
    pub(super) dataset_path: Option<PathBuf>,
    /// Number of requests
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(super) num_prompts: usize,
    /// Seed of prompts and arrivals
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Tokens of a random prompt
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(super) random_input_len: usize,
    /// Tokens of the answer to a random prompt
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(super) random_output_len: usize,
    /// Lengths vary by up to this fraction in both directions
    #[arg(long, default_value_t = 0.0, value_name = "FRACTION")]
    pub(super) random_range_ratio: f64,
    /// Tokens that all random prompts begin with, in addition
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) random_prefix_len: usize,
    /// Tokens of a repeated prefix
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(super) prefix_repetition_prefix_len: usize,
    /// Tokens after a repeated prefix
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(super) prefix_repetition_suffix_len: usize,
    /// Number of prefixes
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(super) prefix_repetition_num_prefixes: usize,
    /// Tokens of the answer to a repeated prefix
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(super) prefix_repetition_output_len: usize,
    /// Tokens of an answer instead of the length in the conversation
    #[arg(long, value_name = "N")]
    pub(super) sharegpt_output_len: Option<usize>,
    /// Tokens of the answer to a prompt that says nothing of it
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(super) custom_output_len: usize,
    /// Factor for the lengths in a trace
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub(super) trace_scale: f64,
    /// Factor for the speed at which a trace is replayed
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub(super) trace_speed: f64,
}

/// When it is sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadArgs {
    /// Requests per second on average; inf sends all at once
    #[arg(long, default_value_t = f64::INFINITY, value_name = "RATE")]
    pub(super) request_rate: f64,
    /// Shape of the gamma distribution of the times between requests: 1 is a Poisson process, less is burstier
    #[arg(long, default_value_t = 1.0, value_name = "SHAPE")]
    pub(super) burstiness: f64,
    /// Requests in flight at most; others wait before they are sent, which counts for no latency
    #[arg(long, value_name = "N")]
    pub(super) max_concurrency: Option<usize>,
    /// Requests sent one by one before the measurement
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) num_warmups: usize,
}

/// How answers are sampled.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// Generate all tokens that were asked for
    #[arg(long)]
    pub(super) ignore_eos: bool,
    /// Temperature [default: 0, so that runs are alike]
    #[arg(long, value_name = "T")]
    pub(super) temperature: Option<f32>,
    /// Nucleus sampling
    #[arg(long, value_name = "P")]
    pub(super) top_p: Option<f32>,
    /// Most likely tokens to choose from
    #[arg(long, value_name = "K")]
    pub(super) top_k: Option<i32>,
    /// Least probability relative to the most likely token
    #[arg(long, value_name = "P")]
    pub(super) min_p: Option<f32>,
}

/// What is reported.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Latencies to show the percentiles of
    #[arg(long, value_name = "METRIC,…", value_delimiter = ',', value_enum, default_value = "ttft,tpot,itl")]
    pub(super) percentile_metrics: Vec<Latency>,
    /// Percentiles to show
    #[arg(long, value_name = "P,…", value_delimiter = ',', default_value = "99")]
    pub(super) metric_percentiles: Vec<f64>,
    /// Bounds that a request must keep to count for the goodput, in milliseconds, as in ttft:500
    #[arg(long, value_name = "METRIC:MS", num_args = 1..)]
    pub(super) goodput: Vec<Bound>,
    /// Save the result as JSON
    #[arg(long)]
    save_result: bool,
    /// Save the times and texts of each request as well
    #[arg(long)]
    pub(super) save_detailed: bool,
    /// Folder of the result
    #[arg(long, value_name = "DIR")]
    result_dir: Option<PathBuf>,
    /// Name of the result [default: from backend, rate, model and time]
    #[arg(long, value_name = "FILE")]
    result_filename: Option<PathBuf>,
    /// Fields added to the result
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    pub(super) metadata: Vec<Pair>,
}

/// A latency of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Latency {
    /// Time to first token
    Ttft,
    /// Time per output token
    Tpot,
    /// Inter-token latency
    Itl,
    /// End-to-end latency
    E2el,
}

impl Latency {
    /// The short name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::Itl => "itl",
            Self::E2el => "e2el",
        }
    }
}

/// A name and a value, as in `a=b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        Ok(Self { name: name.trim().to_owned(), value: value.trim().to_owned() })
    }
}

/// The most that a latency may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) latency: Latency,
    pub(super) most: Duration,
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, ms) = text.split_once(':').ok_or("expected METRIC:MILLISECONDS, as in ttft:500")?;
        let latency = match name {
            "ttft" => Latency::Ttft,
            "tpot" => Latency::Tpot,
            "e2el" => Latency::E2el,
            _ => return Err(format!("{name:?} is not one of ttft, tpot, e2el")),
        };
        let seconds = ms.parse::<f64>().map_err(|_| format!("{ms:?} is not a number"))? / 1e3;
        let most = Duration::try_from_secs_f64(seconds).map_err(|_| format!("{ms} ms is no time"))?;
        Ok(Self { latency, most })
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

impl Args {
    /// Refuses numbers that make no sense.
    ///
    /// # Errors
    /// The first such number.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let positive = [
            ("--request-rate", self.load.request_rate),
            ("--burstiness", self.load.burstiness),
            ("--trace-scale", self.dataset.trace_scale),
            ("--trace-speed", self.dataset.trace_speed),
        ];
        for (flag, value) in positive {
            if value.is_nan() || value <= 0.0 {
                return Err(Failure::Option { flag, message: format!("{value} is not above 0") });
            }
        }
        let ratio = self.dataset.random_range_ratio;
        if !(0.0..1.0).contains(&ratio) {
            let message = format!("{ratio} is not within 0 and 1");
            return Err(Failure::Option { flag: "--random-range-ratio", message });
        }
        if let Some(bad) = self.output.metric_percentiles.iter().find(|p| !(0.0..=100.0).contains(*p)) {
            let message = format!("{bad} is not within 0 and 100");
            return Err(Failure::Option { flag: "--metric-percentiles", message });
        }
        let counts = [
            ("--num-prompts", Some(self.dataset.num_prompts)),
            ("--max-concurrency", self.load.max_concurrency),
        ];
        match counts.into_iter().find(|(_, count)| *count == Some(0)) {
            Some((flag, _)) => {
                Err(Failure::Option { flag, message: "0 is not allowed; use at least 1".to_owned() })
            }
            None => Ok(()),
        }
    }

    /// The URL of the server, without a path.
    pub(super) fn base_url(&self) -> String {
        let url = self.base_url.clone().unwrap_or_else(|| format!("http://{}:{}", self.host, self.port));
        url.trim_end_matches('/').to_owned()
    }

    /// The path that requests are sent to.
    pub(super) fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(match self.backend {
            Backend::Openai => "/v1/completions",
            Backend::OpenaiChat => "/v1/chat/completions",
        })
    }

    /// A loader for the tokenizer.
    pub(super) fn loader(&self) -> Loader {
        Loader::new(ModelRef::named(&self.tokenizer))
    }

    /// Where the result goes, if anywhere.
    pub(super) fn result_path(&self, model: &str, started: u64) -> Option<PathBuf> {
        let OutputArgs { save_result, save_detailed, result_dir, result_filename, .. } = &self.output;
        let is_wanted = *save_result || *save_detailed || result_filename.is_some();
        let name = || {
            let model = model.rsplit(['/', '\\']).next().unwrap_or(model);
            let rate = self.load.request_rate;
            let backend = self.backend.name();
            PathBuf::from(format!("{backend}-{rate}qps-{model}-{started}.json"))
        };
        let name = is_wanted.then(|| result_filename.clone().unwrap_or_else(name))?;
        Some(result_dir.as_ref().map_or(name.clone(), |dir| dir.join(&name)))
    }
}
