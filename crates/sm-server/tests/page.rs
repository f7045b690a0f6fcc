//! The page over HTTP: its files, what their headers allow, and the page on a port of its own.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use reqwest::{Client, Response};
use running::Running;
use serde_json::{Value, json};
use sm_runtime::ModelRef;
use sm_server::{PageServer, PageTabs, ServerError};
use tokio::sync::oneshot;

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_page_and_its_files_are_served_to_anybody_with_a_strict_policy() {
    let server = Running::of(ModelRef::Demo, |config| config.api_key("secret")).await;
    assert_eq!(server.get("/v1/models").await.status(), 401);
    let page = server.get("/").await;
    assert_eq!((page.status().as_u16(), header(&page, "content-type")), (200, "text/html; charset=utf-8"));
    let policy = header(&page, "content-security-policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");
    assert!(page.text().await.unwrap().contains("Ollama is running"));

    let script = server.get("/ui/page.js").await;
    assert_eq!(header(&script, "content-encoding"), "gzip");
    assert_eq!(header(&script, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(header(&script, "cache-control"), "no-cache");
    let tag = header(&script, "etag").to_owned();
    assert!(script.bytes().await.unwrap().starts_with(&[0x1f, 0x8b]));
    let again = server.getting("/ui/page.js").header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, &*tag));
    assert!(again.bytes().await.unwrap().is_empty());
    let plain = server.getting("/ui/page.js").header("accept-encoding", "identity").send().await.unwrap();
    assert_eq!(plain.status(), 406);
    assert_eq!(server.get("/ui/none.js").await.status(), 404);
    let config: Value = server.get("/ui/config.json").await.json().await.unwrap();
    assert_eq!(config["api_url"], Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn a_server_has_other_tabs_or_no_page_if_it_was_told_so() {
    let text = json!({"tabs": [{"id": "haiku", "title": "Haiku", "kind": "prompt", "system": "Be brief."}]});
    let tabs = PageTabs::parse(&text.to_string()).unwrap();
    let server = Running::of(ModelRef::Demo, |config| config.page_tabs(Some(tabs))).await;
    assert_eq!(server.get("/ui/tabs.json").await.json::<Value>().await.unwrap(), text);
    server.stop().await;
    let server = Running::of(ModelRef::Demo, |mut config| {
        config.shows_page = false;
        config
    })
    .await;
    for path in ["/", "/ui/page.js", "/ui/config.json"] {
        let refused = server.get(path).await;
        assert_eq!(refused.status(), 404, "{path}");
        assert!(refused.text().await.unwrap().contains("--no-ui"));
    }
    server.stop().await;
}

#[tokio::test]
async fn the_page_on_its_own_may_ask_its_server_and_nobody_else() {
    let wrong = PageServer::bind("127.0.0.1:0", "localhost:8000", None).await;
    assert!(matches!(wrong, Err(ServerError::ApiUrl { .. })), "{wrong:?}");
    let page = PageServer::bind("127.0.0.1:0", "http://models.example:8000/llm/", None).await.unwrap();
    let url = format!("http://{}", page.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(page.run(async move { _ = stopped.await }));
    let client = Client::new();
    let get = |path: &str| client.get(format!("{url}{path}")).send();
    let index = get("/").await.unwrap();
    let policy = header(&index, "content-security-policy");
    assert!(policy.contains("connect-src 'self' http://models.example:8000;"), "{policy}");
    let config: Value = get("/ui/config.json").await.unwrap().json().await.unwrap();
    assert_eq!(config["api_url"], "http://models.example:8000/llm");
    assert_eq!(get("/ui/tabs.json").await.unwrap().status(), 200);
    assert_eq!(get("/v1/models").await.unwrap().status(), 404);
    drop(client);
    stop.send(()).unwrap();
    served.await.unwrap();
}
