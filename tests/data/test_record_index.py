from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.record_index import RecordIndex

records = st.lists(st.text(max_size=5), max_size=50)


@given(records, records)
def test_an_index_knows_what_was_put_in_and_hardly_anything_else(first, second):
    index = RecordIndex.from_records(first)
    both = index.union(RecordIndex.from_records(second))
    assert all(record in index for record in first)
    assert all(record in both for record in first + second)
    assert len(both) == len(set(first + second))
    assert [record for record in second if record in index] == [
        record for record in second if record in first
    ]
    assert index.union(None) is index


def test_four_bytes_each_and_the_same_everywhere():
    index = RecordIndex.from_records(["anna", "bob", "", "zoé"])
    assert index.fingerprints.nbytes == 16
    assert sorted(index.fingerprints.tolist()) == index.fingerprints.tolist() == GOLDEN
    assert b"bob" in index  # a record of bytes is the same as its UTF-8


GOLDEN = [
    348470179,
    634351890,
    3646503065,
    3800629753,
]  # any change makes the models that are saved forget
