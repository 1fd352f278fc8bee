"""What becomes of the records of a worker that died, by how far it had noted to be."""

from __future__ import annotations

import pytest

from millstream.engines.handing import BUSY, KEPT, PASSED, TallyOrder, ended, stage
from millstream.engines.protocol import Lease, Outcome

ACK, NACK, RELEASE = Outcome.ACK, Outcome.NACK, Outcome.RELEASE


@pytest.mark.parametrize(
    ("order", "number", "pieces"),
    [
        (TallyOrder.WORK_UP, stage(12, BUSY), [(10, 12, ACK), (12, 13, NACK), (13, 20, RELEASE)]),
        (TallyOrder.WORK_UP, stage(10, BUSY), [(10, 11, NACK), (11, 20, RELEASE)]),
        (TallyOrder.WORK_UP, stage(19, BUSY | PASSED), [(10, 19, ACK), (19, 20, ACK)]),
        (TallyOrder.WORK_UP, stage(12, BUSY | KEPT), [(10, 12, RELEASE), (12, 13, NACK), (13, 20, RELEASE)]),
        (TallyOrder.WORK_DOWN, stage(12, BUSY), [(10, 12, RELEASE), (12, 13, NACK), (13, 20, ACK)]),
        (TallyOrder.WORK_DOWN, stage(10, BUSY | PASSED), [(10, 11, ACK), (11, 20, ACK)]),
        (TallyOrder.WORK_PLACE, stage(4, BUSY), [(10, 20, ACK)]),
        (TallyOrder.WORK_PLACE, stage(3, BUSY), [(10, 20, NACK)]),
        (TallyOrder.WORK_PLACE, stage(3, BUSY | PASSED), [(10, 20, ACK)]),
        (TallyOrder.WORK_PLACE, stage(2, BUSY), [(10, 20, RELEASE)]),
        (TallyOrder.WORK_ALL, 0, [(10, 20, NACK)]),
    ],
)
def test_a_tally_tells_what_was_done_what_was_running_and_what_was_not_begun(
    order: TallyOrder, number: int, pieces: list[tuple[int, int, Outcome]]
) -> None:
    assert [piece for piece in ended(order, number, 10, 20, 3) if piece[0] < piece[1]] == pieces


@pytest.mark.parametrize("order", [TallyOrder.WORK_UP, TallyOrder.WORK_DOWN, TallyOrder.WORK_PLACE])
def test_a_lease_that_was_not_begun_blames_nothing(order: TallyOrder) -> None:
    lease = Lease(1, "t", "g", 0, 10, 20, 1, 0, "w")
    assert {outcome for *_, outcome in ended(order, order.begin(lease), 10, 20, 0)} == {RELEASE}
