r"""Compiled choice of known labels that join a context."""

from torch_geometric_rfm.sampler.compiled import compiled
from torch_geometric_rfm.sampler.context_policy import KIND_OWN, KIND_RECENT
from torch_geometric_rfm.sampler.kernels import CELLS, table_of, visit
from torch_geometric_rfm.sampler.random_stream import draw_below
from torch_geometric_rfm.sampler.row_set import find

_TRIES = 4
NO_LIMIT = 1 << 62
LABEL_CELLS = 2
r"""Cells of a row of a task table: its label and its time."""


@compiled
def num_labels_known(task, rows, first, last, until):
    r"""How many of a time-sorted range of labels are known: of a time before
    :obj:`until`, and their horizon over by then.
    """
    limit = min(until - 1, until - task.horizon)
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if task.time[rows[middle]] <= limit:
            low = middle + 1
        else:
            high = middle
    return low - first


@compiled
def _take(work, label, num_labels):
    # Whether a label is new; it is then the last of the list.
    slot = find(work.label_keys, label)
    if work.label_keys[slot] == label:
        return False
    work.label_keys[slot] = label
    work.labels[num_labels] = label
    return True


@compiled
def draw_labels(store, task, limits, work, counts, start, until, row_until, state):
    r"""Lists known labels in :obj:`work.labels` as the policies share the cells,
    each with its entity; returns their number.
    """
    local = start - task.first_entity
    own_first, own_last = task.own_start[local], task.own_start[local + 1]
    own_known = num_labels_known(task, task.own_row, own_first, own_last, until)
    known = num_labels_known(task, task.label_row, 0, len(task.label_row), until)
    num_labels = 0
    for policy in range(len(limits.label_kind)):
        kind, room = limits.label_kind[policy], limits.label_cells[policy]
        turn = 0
        while room >= LABEL_CELLS:
            if kind == KIND_OWN:
                if turn >= own_known:
                    break
                label = task.own_row[own_first + own_known - 1 - turn]
            elif kind == KIND_RECENT:
                if turn >= known:
                    break
                label = task.label_row[known - 1 - turn]
            else:
                if known == 0 or turn >= _TRIES * limits.label_cells[policy]:
                    break
                label = task.label_row[draw_below(state, known)]
            turn += 1
            if not _take(work, label, num_labels):
                continue
            num_labels += 1
            before = counts[CELLS]
            entity = task.entity[label]
            if kind != KIND_OWN and store.row_time[entity] <= row_until:
                work.pending_row[0] = entity
                work.pending_table[0] = table_of(store.table_start, entity)
                visit(
                    store,
                    task.hidden,
                    row_until,
                    work,
                    counts,
                    1,
                    0,
                    NO_LIMIT,
                    False,
                )
            room -= LABEL_CELLS + counts[CELLS] - before
    return num_labels


@compiled
def fill_with_own_labels(task, work, start, until, room, num_labels):
    r"""Lists further known labels of the entity while there is room for them, the
    label of the seed included; returns their number.
    """
    local = start - task.first_entity
    first, last = task.own_start[local], task.own_start[local + 1]
    known = num_labels_known(task, task.own_row, first, last, until)
    for turn in range(known):
        if LABEL_CELLS * (num_labels + 2) > room:
            break
        if _take(work, task.own_row[first + known - 1 - turn], num_labels):
            num_labels += 1
    return num_labels


@compiled
def forget_labels(work, num_labels):
    r"""Empties the set of listed labels."""
    for i in range(num_labels):
        # Labels may share a probe sequence: free slots only after all are found.
        work.stack_row[i] = find(work.label_keys, work.labels[i])
    for i in range(num_labels):
        work.label_keys[work.stack_row[i]] = -1
