from __future__ import annotations

from pagent.relay.changes import Change, ChangeFeed, ChangeKind


def test_each_subscriber_gets_each_change_until_it_ends() -> None:
    feed = ChangeFeed()
    feed.publish(ChangeKind.AGENT_UP, "A")
    first: list[Change] = []
    second: list[Change] = []
    end = feed.subscribe(first.append)
    feed.subscribe(second.append)
    feed.publish(ChangeKind.AGENT_DOWN, "A")
    end()
    end()
    feed.publish(ChangeKind.AGENT_UP, "B")
    assert first == [Change(ChangeKind.AGENT_DOWN, "A")]
    assert second == [*first, Change(ChangeKind.AGENT_UP, "B")]


def test_a_subscriber_may_end_while_it_is_called() -> None:
    feed = ChangeFeed()
    calls: list[str] = []

    def once(change: Change) -> None:
        calls.append(change.agent_uid)
        end()

    end = feed.subscribe(once)
    feed.publish(ChangeKind.AGENT_UP, "A")
    feed.publish(ChangeKind.AGENT_UP, "B")
    assert calls == ["A"]
