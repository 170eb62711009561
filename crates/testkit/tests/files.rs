//! Downloads over real sockets.

use privatix_testkit::{FileServer, PatternCheck};

#[tokio::test]
async fn a_download_has_a_length_and_can_be_checked() {
    let server = FileServer::start(3 * 1024 * 1024 + 5).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut response = client.get(server.url()).send().await.unwrap();
    assert_eq!(response.content_length(), Some(server.size()));
    let mut check = PatternCheck::default();
    while let Some(piece) = response.chunk().await.unwrap() {
        check.update(&piece).unwrap();
    }
    assert_eq!(check.len(), server.size());

    let small = client.get(server.bytes_url(0)).send().await.unwrap().bytes().await.unwrap();
    assert!(small.is_empty());
}

#[tokio::test]
async fn an_upload_is_counted() {
    let server = FileServer::start_mib(1).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(server.upload_url()).body(vec![7; 300_000]).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "300000");
}
