import pytest

from ragbench.files.toml_tables import StudyError
from ragbench.study.address import Address, url_mistakes
from ragbench.study.study_file import load_study, parse_study
from tests.ragbench.running import write_study


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:8000", "https://host", "HTTP://Host:80/", "http://[::1]:8000/v1/rag", "http://a_b.c:1"),
        *("http://[fe80::1%25eth0]", "http://host./x?key=a%20b", "http://bücher.example", "http://10.0.0.1/rag/"),
    ],
)
def test_urls_that_can_be_asked(url):
    assert url_mistakes(url) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:99999", "a port is a number from 1 to 65535"),
        ("http://127.0.0.1:abc", "a port is a number from 1 to 65535"),
        ("http://127.0.0.1:0", "a port is a number from 1 to 65535"),
        ("http://127.0.0.1:", "a port is a number from 1 to 65535"),
        ("http://127.0.0.1:-1", "a port is a number from 1 to 65535"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://::1]", "Invalid IPv6 URL"),
        ("http://[::1]x:80", "is no host"),
        ("http://[nine]", "nine"),
        ("http://user:secret@host", "must not hold a user or a password"),
        ("http://user@host", "must not hold a user or a password"),
        ("http://host/x#part", "what follows # never reaches a server"),
        ("http://host/a b", "must be percent-encoded"),
        ("http://ho st", "must be percent-encoded"),
        ("http://host\n", "must be percent-encoded"),
        ("http://a..b", "is no host"),
        ("http://" + "a" * 64 + ".org", "is no host"),
        ("http://", "a host is missing"),
        ("http:///rag", "a host is missing"),
        ("ftp://host", "it begins with http:// or https://"),
        ("127.0.0.1:8000", "it begins with http:// or https://"),
        ("", "it begins with http:// or https://"),
    ],
)
def test_urls_that_cannot_be_asked_are_one_line_each(url, reason):
    (line,) = url_mistakes(url)
    assert reason in line
    assert "secret" not in line
    with pytest.raises(StudyError, match=r"^\[designs\.a\] url must"):
        parse_study({"load": {"rates": [1], "duration_s": 1}, "designs": {"a": {"url": url}}}, default_name="s")


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://h:1", "http://h:1/info"),
        ("http://h:1/", "http://h:1/info"),
        ("http://h:1/rag", "http://h:1/info"),
        ("http://h:1/v1/rag/", "http://h:1/v1/info"),
        ("http://h:1?key=x", "http://h:1/info?key=x"),
        ("http://h:1/v1/rag?key=x&b=/rag", "http://h:1/v1/info?key=x&b=/rag"),
    ],
)
def test_a_query_stays_behind_every_path(url, asked):
    assert Address.of(url, endpoint="/rag").at("/info") == asked


URLS = """
[designs.first]
command = "FAKE"
[designs.second]
url = "http://127.0.0.1:99999"
[designs.third]
url = "http://[::1"
[designs.fourth]
url = "https://127.0.0.1:9"
ca_file = "absent.pem"
[designs.fifth]
url = "http://127.0.0.1:9"
ca_file = "absent.pem"
"""


@pytest.mark.parametrize(
    "command", [("run", "--no-report"), ("run", "--dry-run"), ("capacity", "--slo", "latency_p95_s=1")]
)
def test_all_mistakes_of_a_study_come_before_the_first_launch(tmp_path, call, command):
    study = write_study(tmp_path, URLS)
    code, out, err = call(command[0], study, *command[1:], "--results", tmp_path / "results")
    assert (code, out) == (2, "")
    assert [line.removeprefix(f"{study}: ").split(" ")[0] for line in err.splitlines()] == [
        *("[designs.second]", "[designs.third]", "[designs.fourth]", "[designs.fifth]"),
    ]
    assert "absent.pem: No such file or directory" in err
    assert "ca_file is for a url that begins with https://" in err
    assert not (tmp_path / "results").exists()


def test_a_file_of_no_certificates_is_one_line(tmp_path):
    (tmp_path / "ca.pem").write_text("not a certificate")
    design = f'[designs.a]\nurl = "https://127.0.0.1:9"\nca_file = "{tmp_path / "ca.pem"}"\n'
    with pytest.raises(StudyError, match="holds no certificate in PEM"):
        load_study(write_study(tmp_path, design))


@pytest.mark.parametrize("command", [("chaos", "--command", "a 'b"), ("limit", "--bare", "a 'b")])
def test_a_command_line_that_cannot_be_split_is_one_line(tmp_path, call, command):
    out = "--out" if command[0] == "chaos" else "--results"
    code, _, err = call(*command, out, tmp_path / "out")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "cannot be split into words: No closing quotation" in err
