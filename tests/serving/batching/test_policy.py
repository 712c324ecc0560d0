from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.batching.policy import BatchQueue, Ticket


def queue(max_batch=4, max_delay=0.0, bound=10):
    return BatchQueue(max_batch=max_batch, max_delay=max_delay, bound=bound)


def ticket(n, arrived=0.0, deadline=100.0):
    return Ticket(list(range(n)), arrived, deadline)


def test_nothing_is_due_while_nothing_waits():
    assert queue().due(0.0) is None


def test_without_a_delay_one_instance_is_due_at_once():
    q = queue()
    q.offer(ticket(1))
    assert q.due(0.0) == 0.0


def test_with_a_delay_the_oldest_waits_for_company_but_no_longer():
    q = queue(max_delay=0.010)
    q.offer(ticket(1, arrived=5.0))
    q.offer(ticket(1, arrived=5.008))
    assert abs(q.due(5.004) - 0.006) < 1e-9
    assert q.due(5.020) == 0.0


def test_a_full_batch_does_not_wait():
    q = queue(max_delay=10.0)
    q.offer(ticket(4))
    assert q.due(0.0) == 0.0


def test_a_request_larger_than_a_batch_runs_in_several_in_order():
    q = queue()
    q.offer(ticket(6))
    assert [i.index for i in q.take()] == [0, 1, 2, 3]
    assert [i.index for i in q.take()] == [4, 5]
    assert q.depth == 0


def test_a_batch_counts_instances_across_requests():
    q = queue()
    first, second = ticket(3), ticket(3)
    q.offer(first)
    q.offer(second)
    assert [(i.ticket is first, i.index) for i in q.take()] == [(True, 0), (True, 1), (True, 2), (False, 0)]


def test_a_request_that_does_not_fit_is_refused_whole():
    q = queue(bound=5)
    assert q.offer(ticket(4))
    assert not q.offer(ticket(2))
    assert q.depth == 4
    assert q.offer(ticket(1))


def test_cancelled_work_is_not_run_and_makes_room():
    q = queue(bound=4)
    gone = ticket(4)
    q.offer(gone)
    assert q.cancel(gone)
    assert not q.cancel(gone)
    assert q.due(0.0) is None
    assert q.take() == []
    assert q.offer(ticket(4))


def test_the_rest_of_a_half_run_request_can_be_cancelled():
    q = queue()
    t = ticket(6)
    q.offer(t)
    q.take()
    assert q.cancel(t)
    assert q.depth == 0


def test_late_requests_are_dropped_before_they_run():
    q = queue()
    late, fine = ticket(1, deadline=1.0), ticket(1, deadline=3.0)
    q.offer(late)
    q.offer(fine)
    assert q.expire(2.0) == [late]
    assert [i.ticket for i in q.take()] == [fine]


@given(st.lists(st.tuples(st.sampled_from(["offer", "take", "cancel", "expire"]), st.integers(1, 9)), max_size=60))
def test_no_instance_is_lost_run_twice_or_counted_wrong(steps):
    q = queue(max_batch=3, bound=12)
    waiting: dict[Ticket, list[int]] = {}
    for now, (step, n) in enumerate(steps):
        if step == "offer":
            t = ticket(n, arrived=now, deadline=now + 5)
            fits = sum(map(len, waiting.values())) + n <= 12
            assert q.offer(t) == fits
            if fits:
                waiting[t] = list(range(n))
        elif step == "take":
            batch = q.take()
            assert len(batch) == min(3, sum(map(len, waiting.values())))
            for item in batch:
                assert waiting[item.ticket].pop(0) == item.index
        elif step == "cancel" and waiting:
            t = list(waiting)[n % len(waiting)]
            assert q.cancel(t) == bool(waiting[t])
            waiting[t] = []
        elif step == "expire":
            for t in q.expire(now):
                assert t.deadline <= now
                waiting[t] = []
        assert q.depth == sum(map(len, waiting.values()))
