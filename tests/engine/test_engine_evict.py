"""Who makes room for whom."""

from casona.engine.evict import Decision, Drain, Evict, Fits, Occupant, Wait, decide

FOREVER_S = 1e9


def ready(id: int, size: int, *, busy: int = 0, idle_since: float = 0, kept: bool = False) -> Occupant:
    return Occupant(id=id, memory_bytes=size, state="ready", busy=busy, idle_since_s=idle_since, kept=kept)


def loading(id: int, size: int) -> Occupant:
    return Occupant(id=id, memory_bytes=size, state="loading")


def draining(id: int, size: int, *, busy: int = 1) -> Occupant:
    return Occupant(id=id, memory_bytes=size, state="draining", busy=busy)


def decided(need: int, *occupants: Occupant, may_drain: bool = False) -> Decision:
    return decide(need, 100, occupants, may_drain=may_drain)


def test_a_model_that_fits_evicts_nobody() -> None:
    assert decided(40, ready(1, 60)) == Fits()


def test_the_longest_idle_goes_first() -> None:
    assert decided(40, ready(1, 50, idle_since=2), ready(2, 50, idle_since=1)) == Evict((2,))


def test_no_more_go_than_are_needed() -> None:
    models = [ready(1, 10, idle_since=1), ready(2, 60, idle_since=2), ready(3, 30, idle_since=3)]
    assert decided(60, *models) == Evict((2,))


def test_several_go_when_one_is_not_enough() -> None:
    assert decided(80, ready(1, 50, idle_since=2), ready(2, 50, idle_since=1)) == Evict((2, 1))


def test_a_model_that_was_to_stay_for_ever_goes_last() -> None:
    assert decided(40, ready(1, 50, kept=True), ready(2, 50, idle_since=FOREVER_S)) == Evict((2,))
    assert decided(100, ready(1, 50, kept=True), ready(2, 50)) == Evict((2, 1))


def test_a_busy_model_is_not_evicted() -> None:
    assert decided(40, ready(1, 100, busy=1)) == Wait()


def test_a_loading_model_is_neither_evicted_nor_drained() -> None:
    assert decided(40, loading(1, 100), may_drain=True) == Wait()


def test_no_idle_model_goes_when_that_would_not_be_enough() -> None:
    assert decided(80, ready(1, 50), ready(2, 50, busy=1)) == Wait()


def test_after_the_wait_the_idlest_busy_model_drains() -> None:
    models = [ready(1, 50, busy=3), ready(2, 50, busy=1)]
    assert decided(40, *models, may_drain=True) == Drain(2)


def test_an_idle_model_is_evicted_rather_than_a_busy_one_drained() -> None:
    assert decided(40, ready(1, 50, busy=1), ready(2, 50), may_drain=True) == Evict((2,))


def test_what_is_already_leaving_is_waited_for() -> None:
    assert decided(40, draining(1, 50), ready(2, 50, busy=1), may_drain=True) == Wait()
    assert decided(40, draining(1, 50), ready(2, 50)) == Wait()


def test_another_one_drains_when_the_first_is_not_enough() -> None:
    assert decided(80, draining(1, 50), ready(2, 50, busy=1), may_drain=True) == Drain(2)
