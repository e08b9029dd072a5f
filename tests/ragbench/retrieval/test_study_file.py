import pytest

from ragbench.files.toml_tables import StudyError
from ragbench.results.paths import SHIPPED_STUDIES
from ragbench.retrieval.cells import cells_of
from ragbench.retrieval.study_file import load_study

RETRIEVAL = [path for path in sorted(SHIPPED_STUDIES.glob("*.toml")) if "[grids." in path.read_text()]


def mistakes(folder, text):
    """The lines of every mistake in a study file, without its path."""
    path = folder / "mine.toml"
    path.write_text(text)
    with pytest.raises(StudyError) as caught:
        load_study(path)
    return [line.removeprefix(f"{path}: ") for line in caught.value.mistakes]


@pytest.mark.parametrize("path", RETRIEVAL, ids=lambda path: path.stem)
def test_shipped_studies_are_good(path):
    assert cells_of(load_study(path), threads=2)


def test_every_mistake_is_told_at_once_with_the_valid_names(tmp_path):
    found = mistakes(
        tmp_path,
        """
        extra = 1
        [study]
        titel = "t"
        command = "a 'b"
        repeats = 0
        threads = 0
        budget_s = -1
        seed = true
        [grids.a]
        nn = 5
        task = ["search", "sort"]
        metric = ["ip", "manhattan", "ip"]
        n = [0, "many", 5]
        d = 2.5
        backend = "x"
        data = ["normal", "intrinsic:0", "intrinsic:16", "vectors.npy"]
        index = ["ivf", "tree"]
        device = "tpu"
        dtype = "int8"
        storage = "tape"
        memory_mib = 0
        max_gib = [1, 2]
        rerank = -1
        [grids.b]
        task = "kmeans"
        metric = "l1"
        n = 10
        backend = ["x", ""]
        clusters = [5, 20]
        [grids."c d"]
        metric = "l2"
        n = 5
        d = 10
        backend = "x"
        index = ["ivf_pq", "hnsw"]
        nlist = 1
        nprobe = 1
        m = [5, 4]
        [grids.e]
        """,
    )
    assert found == [
        '[study] command "a \'b" cannot be split into words: No closing quotation',
        "[study] repeats must be >= 1, got 0",
        "[study] budget_s must be > 0, got -1",
        "[study] threads must be >= 1, got 0",
        "[study] seed must be a whole number, got True",
        "[study] has an unknown key 'titel'; did you mean title? valid: name, title, command, repeats, budget_s, "
        "threads, seed, job_timeout_s",
        "[grids.a] metric: 'manhattan' is unknown (known: ip, cosine, l2, l1)",
        "[grids.a] n must be >= 1, got 0",
        "[grids.a] n: each must be a whole number, got 'many'",
        "[grids.a] d must be a whole number, got 2.5",
        "[grids.a] task: 'sort' is unknown (known: search, kmeans)",
        "[grids.a] data: 'normal' is unknown (known: uniform, clustered, intrinsic:16, FILE.npy)",
        "[grids.a] data: 'intrinsic:0' is unknown (known: uniform, clustered, intrinsic:16, FILE.npy)",
        "[grids.a] index: 'tree' is unknown (known: flat, ivf, ivf_pq, hnsw)",
        "[grids.a] device: 'tpu' is unknown (known: cpu, cuda)",
        "[grids.a] dtype: 'int8' is unknown (known: float32, float16, bfloat16)",
        "[grids.a] rerank must be >= 0, got -1",
        "[grids.a] storage: 'tape' is unknown (known: memory, file)",
        "[grids.a] memory_mib must be >= 1, got 0",
        "[grids.a] max_gib must be a number, got [1, 2]",
        "[grids.a] has an unknown key 'nn'; did you mean n? valid: metric, n, d, backend, task, data, k, batch, "
        "index, device, dtype, nlist, nprobe, m, rerank, ef_search, storage, memory_mib, clusters, iterations, max_gib",
        "[grids.b] backend must not be empty",
        "[grids.c d] name 'c d': use letters, digits, and . _ - (it names folders)",
        '[grids.c d] ef_search is needed for index = "hnsw"',
        "[grids.c d] k 10 is more than n 5",
        "[grids.c d] d 10 is no multiple of m 4 (ivf_pq)",
        "[grids.e] metric is needed",
        "[grids.e] n is needed",
        "[grids.e] d is needed",
        "[grids.e] backend is needed",
        "the file has an unknown key 'extra'; valid: study, grids",
        "[grids.a] metric: 'ip' is there twice",
        "[grids.b] d is needed",
        "[grids.b] metric 'l1' is none of kmeans (known: l2, cosine)",
        "[grids.b] clusters 20 is more than n 10",
        '[grids.a] nlist is needed for index = "ivf"',
        '[grids.a] nprobe is needed for index = "ivf"',
        "[grids.a] k 10 is more than n 5",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "[grids.NAME] is needed at least once, with metric, n, d and backend"),
        ("[grids]\na = 5", "[grids.a] must be a table, got 5"),
        ("[grids.a", "not TOML"),
        ("[designs.a]\ncommand = 'x'", "is no retrieval study: ragbench run"),
    ],
)
def test_a_file_of_another_kind_is_one_line(tmp_path, text, line):
    (found,) = mistakes(tmp_path, text)
    assert line in found


def test_what_is_not_said_has_a_default(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[grids.a]\nmetric = "ip"\nn = 50\nd = 2\nbackend = "numpy"\n')
    study = load_study(path)
    assert (study.name, study.command, study.threads) == ("mine", "python -m servers.retrieval", None)
    (cell,) = cells_of(study, threads=3)
    assert (cell.k, cell.batch, cell.index, cell.device, cell.threads, cell.seed) == (10, 1, "flat", "cpu", 3, 0)
