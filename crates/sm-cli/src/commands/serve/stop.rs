//! Signals to a server.

use sm_server::Reload;

/// Ready on Ctrl-C or SIGTERM. Without handlers, the server runs until it is killed.
pub(in crate::commands) async fn stop() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => _ = signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}

/// Has the keys read again on SIGHUP, as long as the runtime lives.
#[cfg_attr(not(unix), expect(clippy::needless_pass_by_value, reason = "there are no hangups here"))]
pub(super) fn reload_on_hangup(reload: Reload) {
    #[cfg(unix)]
    tokio::spawn(async move {
        // Without a handler, changes are still noticed by looking at the file.
        let Ok(mut hangups) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else {
            return;
        };
        while hangups.recv().await.is_some() {
            reload.now();
        }
    });
    #[cfg(not(unix))]
    let _ = reload;
}
