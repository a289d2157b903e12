"""What the fuzzer begins with, and found: there is an answer to each, and soon (``make fuzz``)."""

import time

from fuzz.seeds import CORPUS, seeds
from fuzz.target import judge

SOON = 5.0


def test_there_is_an_answer_to_every_input_of_the_corpus() -> None:
    assert CORPUS.exists()
    texts = seeds()
    assert len(texts) > 200
    refused = 0
    for text in texts:
        started = time.process_time()
        refused += judge(text).config is None
        assert time.process_time() - started < SOON
    assert 0 < refused < len(texts)
