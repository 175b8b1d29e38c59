"""How fast one may send: told without waiting, for each account and each user by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import Bridge, installed
from bridge.adapter import Pace
from bridge.errors import ConfigurationError
from bridge.outbox.limits import Limits
from bridge.outbox.ways import Ways

META = Pace(rate=80.0, pair_every=6.0, pair_burst=45)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sent(limits: Limits, clock: Clock, seconds: float, *users: str, account: str = "a") -> int:
    """Send to each user as soon as they may be sent to; return how many messages went."""
    count = 0
    ends = clock.now + seconds
    while clock.now < ends:
        pauses = [limits.enter(account, user) for user in users]
        count += pauses.count(0.0)
        if all(pauses):
            clock.now += min(pauses)
    return count


def refused(shut, name: str, clock: Clock, times: int) -> list[float]:
    """Be refused again at the end of each pause; return how long the pauses were."""
    pauses = []
    for _ in range(times):
        pauses.append(shut(name))
        clock.now += pauses[-1]
    return pauses


def test_an_account_keeps_its_rate(clock):
    """As many messages as the rate go at once, and then one after the other in its time."""
    limits = Limits(Pace(rate=5.0), clock)
    assert [limits.enter("a", str(n)) for n in range(5)] == [0.0] * 5
    assert limits.enter("a", "5") == pytest.approx(0.2)
    assert limits.enter("b", "5") == 0.0
    clock.now += 0.2
    assert limits.enter("a", "5") == 0.0


def test_a_user_is_not_flooded(clock):
    """One pair of numbers has its burst, and then one in six seconds, while others go on."""
    limits = Limits(META, clock)
    assert [limits.enter("a", "maya") for _ in range(45)] == [0.0] * 45
    assert limits.enter("a", "maya") == pytest.approx(6.0)
    assert limits.enter("a", "noor") == 0.0
    clock.now += 6.0
    assert limits.enter("a", "maya") == 0.0
    assert limits.enter("a", "maya") == pytest.approx(6.0)


def test_who_is_held_back_takes_nobody_s_turn(clock):
    """A message that its conversation holds back leaves the account's turn to others."""
    limits = Limits(Pace(rate=1.0, pair_every=10.0), clock)
    assert limits.enter("a", "maya") == 0.0
    clock.now += 1.0
    for _ in range(5):
        assert limits.enter("a", "maya") == pytest.approx(9.0)
    assert limits.enter("a", "noor") == 0.0


def test_without_a_documented_pace_nothing_is_held_back(clock):
    """Where a provider documents no limit, only its own refusals slow one down."""
    limits = Limits(Pace(), clock)
    assert all(limits.enter("a", "maya") == 0.0 for _ in range(1000))


def test_a_refusal_slows_that_account_and_no_other(clock):
    """The pause is the provider's, or twice as long each time until a message gets through."""
    limits = Limits(Pace(), clock)
    assert limits.slow("a", 30.0) == 30.0
    assert limits.enter("a", "maya") == 30.0
    assert limits.enter("b", "maya") == 0.0
    clock.now += 30.0
    assert limits.enter("a", "maya") == 0.0
    assert refused(limits.slow, "a", clock, 3) == [2.0, 4.0, 8.0]
    limits.accepted("a", "maya")
    assert limits.slow("a") == 1.0


def test_a_conversation_is_held_for_ever_longer(clock):
    """4^0, 4^1, 4^2 … seconds, as Meta asks for, and ten minutes at most; others go on."""
    limits = Limits(META, clock)
    assert refused(limits.hold, "maya", clock, 3) == [1.0, 4.0, 16.0]
    assert limits.hold("maya") == 64.0
    assert limits.enter("a", "maya") == 64.0
    assert limits.enter("a", "noor") == 0.0
    clock.now += 64.0
    limits.accepted("a", "maya")
    assert limits.hold("maya") == 1.0
    clock.now += 1.0
    assert refused(limits.hold, "maya", clock, 20)[-1] == 600.0


def test_refusals_of_one_moment_are_one(clock):
    """Sixteen requests that were under way together and are all refused make one pause."""
    limits = Limits(Pace(), clock)
    assert [limits.slow("a") for _ in range(16)] == [1.0] * 16


def test_a_shorter_pause_does_not_end_a_longer_one(clock):
    """Two refusals of one moment leave the longer pause."""
    limits = Limits(Pace(), clock)
    limits.slow("a", 30.0)
    limits.slow("a", 5.0)
    assert limits.enter("a", "maya") == 30.0


def test_what_is_known_of_users_is_bounded(clock):
    """Users who are not held back are forgotten before there are too many of them."""
    limits = Limits(Pace(pair_every=1.0), clock)
    for number in range(25_000):
        clock.now += 1.0
        limits.enter("a", str(number))
    assert len(limits._pairs) <= 10_000


@given(
    rate=st.floats(0.5, 50),
    every=st.floats(0.1, 10),
    burst=st.integers(1, 20),
    users=st.integers(1, 5),
)
def test_no_second_sees_more_than_the_limits(rate, every, burst, users):
    """Whatever the pace, in any time go at most a burst and what the rates allow."""
    clock = Clock()
    limits = Limits(Pace(rate=rate, pair_every=every, pair_burst=burst), clock)
    seconds = 20.0
    count = sent(limits, clock, seconds, *map(str, range(users)))
    assert count <= rate + rate * seconds + 1
    assert count <= users * (burst + seconds / every + 1)


def test_an_account_may_have_a_pace_of_its_own(clock):
    """Where one is given for an account, it counts in the place of the others'."""
    limits = Limits(Pace(rate=2.0), clock, {"fast": Pace(rate=4.0), "free": Pace()})
    sent = {name: [limits.enter(name, str(n)) for n in range(5)] for name in ("a", "fast", "free")}
    assert {name: pauses.count(0.0) for name, pauses in sent.items()} == {
        "a": 2,
        "fast": 4,
        "free": 5,
    }


def test_less_than_one_a_second(clock):
    """A rate below one lets one message go at once, and the next one in its time."""
    limits = Limits(Pace(rate=0.25), clock)
    assert [limits.enter("a", "1"), limits.enter("a", "2")] == [0.0, 4.0]


def ways_of(adapter: str, text: str = "") -> Ways:
    """Return the ways out of a bridge that a document describes."""
    return Bridge.from_settings(
        installed.loads(DOCUMENTS[adapter] + text, {})
    ).operators.outbox.ways


DOCUMENTS = {
    "whatsapp": """
[adapters.whatsapp]
app_secrets = "s"
access_token = "t"
phone_number_id = "1"
""",
    "incs": """
[adapters.incs]
tokens = "0123456789abcdef0123456789abcdef"
channels = [{ id = 1, kind = "viber", certification_code = "c" }]
""",
    "rcs": """
[adapters.rcs]
client_tokens = "t"
agent_id = "shop"
service_account = '{"client_email": "c", "private_key": "p", "token_uri": "u"}'
""",
}


def go(ways: Ways, adapter: str, channel: str, account: str) -> int:
    """Return how many messages of 100 go at once to one user."""
    limits = ways.of(adapter).limits[channel]
    return [limits.enter(account, "a user") for _ in range(100)].count(0.0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 45),
        ("pace.whatsapp.rate = 20", 20),
        ("pace.whatsapp.pair_burst = 60", 60),
        ("pace.whatsapp = { pair_every = 0, rate = inf }", 100),
        ("pace.7.pair_burst = 30", 30),
        ("pace.7.rate = 30\npace.whatsapp = { rate = 5, pair_burst = 10 }", 10),
        ("pace.8.rate = 1", 45),
    ],
)
def test_settings_say_how_fast(text, count):
    """The settings of an account go before those of its channel, and both before the default."""
    assert go(ways_of("whatsapp", text), "whatsapp", "whatsapp", "7") == count


@pytest.mark.parametrize("name", ["shop", "shop@rbm.goog"])
def test_an_account_has_the_name_of_its_owner_too(name):
    """An account is found, and its pace is what is set, by what callbacks or its owner call it."""
    ways = ways_of("rcs", f"pace.'{name}'.rate = 20")
    found = {ways.find(each)[1].account for each in (name, f"rcs:{name}")}
    assert found == {"shop@rbm.goog"}
    assert go(ways, "rcs", "rcs", "shop@rbm.goog") == 20


@pytest.mark.parametrize(
    ("adapter", "text", "message"),
    [
        ("whatsapp", "pace.whatsapp.rate = 0", "at least 0.001"),
        ("whatsapp", "pace.whatsapp.rate = nan", "at least 0.001"),
        ("whatsapp", "pace.whatsapp.speed = 1", "unknown key"),
        ("whatsapp", "pace.whatsapp = 80", "expected a table"),
        ("incs", "pace.whatsap.rate = 1", "pace.whatsap: unknown channel or account"),
        ("incs", "pace.2.rate = 1", "unknown channel or account"),
    ],
)
def test_a_pace_that_cannot_be(adapter, text, message):
    """A mistake is told with its key, and where the accounts are known, one that is not there."""
    with pytest.raises(ConfigurationError, match=message):
        ways_of(adapter, text)


@pytest.mark.parametrize("asked", [0.0, 0.5, -3.0])
def test_a_provider_that_asks_for_no_pause_is_not_flooded(clock, asked):
    """Whoever calls us too fast and asks for less than a second gets ever longer pauses."""
    limits = Limits(Pace(), clock)
    assert refused(lambda name: limits.slow(name, asked), "a", clock, 4) == [1.0, 2.0, 4.0, 8.0]
