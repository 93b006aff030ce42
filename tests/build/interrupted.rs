//! Builds that end before they are done, and those that run at the same time.

use std::time::Duration;

use crate::common::{Pkg, TinyChannel};
use crate::world::{Choices, World};

fn channel() -> TinyChannel {
    (0..30).fold(TinyChannel::new(), |channel, n| {
        channel.package(Pkg::new(&format!("p{n}"), "1").file(&format!("share/{n}"), format!("{n}").repeat(20_000)))
    })
}

fn names() -> Vec<String> {
    (0..30).map(|n| format!("p{n}")).collect()
}

#[tokio::test]
async fn a_build_that_was_dropped_leaves_nothing_in_the_way() {
    let world = World::new(&channel());
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let reference = Choices { cache: "reference".into(), output: "reference".into(), ..Choices::default() };
    let expected = world.build(&names, &reference).await.unwrap().digest;
    for after in [0, 5, 20, 60, 150] {
        let limit = Duration::from_millis(after);
        let _dropped = tokio::time::timeout(limit, world.build(&names, &Choices::default())).await;
    }
    assert_eq!(world.build(&names, &Choices::default()).await.unwrap().digest, expected);
}

#[tokio::test]
async fn builds_at_the_same_time_share_a_cache() {
    let world = World::new(&channel());
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let to = |output: &str| Choices { output: output.into(), ..Choices::default() };
    let (one, two, same) = (to("one"), to("two"), to("one"));
    let (one, two, three) =
        tokio::join!(world.build(&names, &one), world.build(&names, &two), world.build(&names, &same));
    let digest = one.unwrap().digest;
    assert_eq!((digest, digest), (two.unwrap().digest, three.unwrap().digest));
}
