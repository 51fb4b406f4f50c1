"""The injector's numbers: labels of few words, whatever comes, and a histogram that adds up."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.kube.webhook_metrics import SERIES_MAX, Numbers


def samples(numbers: Numbers) -> dict[tuple[str, tuple[str, ...]], float]:
    """All values, by name and labels' values."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(numbers)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(one.name, tuple(one.labels.values())): one.value for family in families for one in family.samples}


def test_before_anything_has_happened() -> None:
    """Nothing is told of a certificate that is not there: an alert on its end must not go off for that."""
    told = samples(Numbers())
    assert told["fusebox_certificate_loads_total", ()] == 0
    assert not any(name == "fusebox_certificate_not_after_seconds" for name, _ in told)


def test_a_histogram_adds_up() -> None:
    """Each admission is in every bucket from its own upwards; a bound belongs to its bucket."""
    numbers = Numbers()
    for took_s in (0.0004, 0.001, 0.02, 0.3, 60.0):
        numbers.admitted("pod", "injected", "none", took_s)
    told = samples(numbers)
    values = [value for (name, _), value in told.items() if name == "fusebox_admission_seconds_bucket"]
    assert values == sorted(values) and values[0] == 2 and values[-1] == 5
    assert told["fusebox_admission_seconds_count", ("pod",)] == 5
    assert abs(told["fusebox_admission_seconds_sum", ("pod",)] - 60.3214) < 1e-9


def test_labels_are_bounded() -> None:
    """A reason that is no code, and the one code too many, count as `other`."""
    numbers = Numbers()
    numbers.admitted("pod", "denied", "the annotation llm-fusebox.dev/port: 'x'", 0.1)
    for number in range(SERIES_MAX + 50):
        numbers.admitted("pod", "denied", f"code_{number}", 0.1)
    assert len(numbers.admissions) <= SERIES_MAX + 1
    assert numbers.admissions["pod", "denied", "other"] == 52
    assert numbers.admissions.total() == SERIES_MAX + 51
