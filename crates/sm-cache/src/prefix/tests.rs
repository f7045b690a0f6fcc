//! Tests of the prefix index.

use super::*;

const LEN: usize = 4;

fn tokens(ids: impl IntoIterator<Item = u32>) -> Vec<TokenId> {
    ids.into_iter().map(TokenId).collect()
}

fn namespace(salt: &str) -> Namespace {
    Namespace { model: "m".into(), kv_dtype: "f16".into(), adapter: String::new(), salt: salt.into() }
}

fn publish(index: &mut PrefixIndex, namespace: u32, tokens: &[TokenId], pages: &[u32]) {
    let mut end = index.root(namespace);
    for (page, tokens) in pages.iter().zip(tokens.chunks_exact(LEN)) {
        end = index.insert(PageId(*page), namespace, end, tokens);
    }
}

fn found(index: &PrefixIndex, namespace: u32, tokens: &[TokenId]) -> Vec<u32> {
    index.longest_prefix(namespace, tokens).map(|page| page.0).collect()
}

#[test]
fn finds_the_longest_prefix_and_leaves_one_token() {
    let mut index = PrefixIndex::new(8, LEN, [0; 16]);
    let ns = index.enter(&namespace(""));
    let text = tokens(0..12);
    publish(&mut index, ns, &text, &[5, 3, 1]);
    for (n_tokens, n_pages) in [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (12, 2)] {
        assert_eq!(found(&index, ns, &text[..n_tokens]).len(), n_pages, "{n_tokens} tokens");
    }
    assert_eq!(found(&index, ns, &tokens(0..20)), [5, 3, 1]);
    let mut other = tokens(0..20);
    other[6] = TokenId(99);
    assert_eq!(found(&index, ns, &other), [5]);
    other[0] = TokenId(99);
    assert_eq!(found(&index, ns, &other), []);
}

#[test]
fn namespaces_share_nothing() {
    let mut index = PrefixIndex::new(8, LEN, [0; 16]);
    let (a, b) = (index.enter(&namespace("a")), index.enter(&namespace("b")));
    publish(&mut index, a, &tokens(0..8), &[0, 1]);
    assert_eq!(found(&index, b, &tokens(0..9)), []);
    assert_eq!(found(&index, a, &tokens(0..9)), [0, 1]);
}

#[test]
fn duplicates_stand_in_for_each_other() {
    let mut index = PrefixIndex::new(8, LEN, [0; 16]);
    let ns = index.enter(&namespace(""));
    let text = tokens(0..12);
    publish(&mut index, ns, &text, &[0, 1, 2]);
    publish(&mut index, ns, &text, &[3, 4]);
    publish(&mut index, ns, &text, &[6, 7]);
    assert_eq!(found(&index, ns, &tokens(0..13)), [0, 1, 2]);
    assert!(index.duplicate(PageId(0)).is_some());
    assert_eq!(index.duplicate(PageId(2)), None);
    for page in [0, 1, 6, 4] {
        index.remove(PageId(page));
    }
    assert_eq!(found(&index, ns, &tokens(0..13)), [3, 7, 2], "a child follows every duplicate of its parent");
    assert_eq!(index.duplicate(PageId(3)), None);
    assert_eq!((0..8).filter(|page| index.contains(PageId(*page))).count(), 3);
}

#[test]
fn a_collision_is_a_miss() {
    // Two pages under one key, as if the hash had collided. Tokens decide, for their children as well.
    let mut index = PrefixIndex::new(8, LEN, [0; 16]);
    let ns = index.enter(&namespace(""));
    publish(&mut index, ns, &tokens(0..8), &[0, 1]);
    let wrong = tokens(100..104);
    let key = index.hasher().child(index.root(ns).key, &tokens(0..4));
    let end = ChainEnd { key, content: index.new_content() };
    index.tokens[2 * LEN..3 * LEN].copy_from_slice(&wrong);
    let parent = index.root(ns);
    index.pages[2] = Some(IndexedPage { parent, end, namespace: ns, n_children: 0, previous: 0, next: NONE });
    index.link(0, |indexed| indexed.next = 2);
    assert_eq!(found(&index, ns, &tokens(0..9)), [0, 1]);
    assert_eq!(index.child(end, &tokens(4..8)), None, "a child of the other page");
    assert_eq!(index.duplicate(PageId(2)), None);
}

#[test]
fn a_namespace_lives_as_long_as_its_pages() {
    let mut index = PrefixIndex::new(8, LEN, [0; 16]);
    let ns = index.enter(&namespace("a"));
    publish(&mut index, ns, &tokens(0..4), &[0]);
    index.leave(ns);
    assert_eq!(index.namespaces().find(&namespace("a")), Some(ns));
    index.remove(PageId(0));
    assert_eq!(index.namespaces().find(&namespace("a")), None);
}

#[test]
fn children_are_counted_by_content() {
    let mut index = PrefixIndex::new(8, LEN, [0; 16]).counting_children();
    let ns = index.enter(&namespace(""));
    let text = tokens(0..12);
    publish(&mut index, ns, &text, &[0, 1, 2]);
    publish(&mut index, ns, &text[..8], &[3, 4]);
    publish(&mut index, ns, &tokens([0, 1, 2, 3, 9, 9, 9, 9]), &[5, 6]);
    let counted: Vec<_> = (0..7).map(|page| index.n_children(PageId(page))).collect();
    assert_eq!(counted, [3, 1, 0, 3, 1, 3, 0]);
    for page in [0, 1, 6] {
        index.remove(PageId(page));
    }
    let counted: Vec<_> = (2..6).map(|page| index.n_children(PageId(page))).collect();
    assert_eq!(counted, [0, 1, 1, 1], "by all duplicates");
}
