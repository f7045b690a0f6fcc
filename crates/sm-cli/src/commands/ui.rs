//! `sm ui`: serves the page for a server that runs elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use sm_server::{PageServer, PageTabs};
use tokio::runtime;

use super::serve::stop::stop;
use crate::console::Console;
use crate::failure::Failure;

/// Serve the page for a server that runs elsewhere
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  sm serve --port 8000 --cors-allow-origin http://127.0.0.1:8501
  sm ui --api-url http://localhost:8000

The page talks to the server itself, which must allow it with --cors-allow-origin. `sm serve` has the same page at /, where that is
not needed.")]
pub(crate) struct Args {
    /// Address of the server, as browsers reach it
    #[arg(long, env = "API_URL", value_name = "URL", default_value = "http://localhost:8000")]
    api_url: String,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 picks a free one
    #[arg(long, env = "UI_PORT", value_name = "N", default_value_t = 8501)]
    port: u16,
    /// Tabs of the page and their examples, a JSON file in the form of /ui/tabs.json
    #[arg(long, value_name = "FILE")]
    tabs: Option<PathBuf>,
}

/// Serves the page until it is told to stop.
///
/// # Errors
/// If an option is invalid, or the address cannot be listened on.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path);
        text.map_err(|source| Failure::File { action: "read", path: path.clone(), source })
    };
    let tabs = args.tabs.as_ref().map(|path| Ok::<_, Failure>(PageTabs::parse(&read(path)?)?)).transpose()?;
    let io = runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Threads)?;
    io.block_on(async {
        let address = SocketAddr::new(args.host, args.port).to_string();
        let page = PageServer::bind(&address, &args.api_url, tabs).await?;
        let place = format!("http://{}", page.address());
        console.line(format_args!("listening on {place}"))?;
        console.note(format_args!(
            "the page asks {}, which must allow it: sm serve --cors-allow-origin {place}",
            args.api_url
        ));
        page.run(stop()).await;
        Ok(())
    })
}
