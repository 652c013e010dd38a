"""``docs/metrics.rst``, made from the declarations of the metrics: ``make pages`` generates it."""

from __future__ import annotations

import sys

from pagent.runtime.histogram import BUCKETS_S
from pagent.runtime.metrics import METRICS, Metric

_HEAD = """\
Metrics
=======

Made from ``pagent/runtime/metrics.py`` by ``make pages``. A test keeps it equal to that.

``GET /metrics`` of the ``control`` listener answers in the OpenMetrics text format. An agent with ``control.token``,
and a closed router (scope ``read``), want a token: Prometheus presents one with ``authorization: {credentials_file:
...}``. The ``Host`` of the request is not checked. Labels have few values, all of which the program chooses: no label
holds what a client has sent. :ref:`operations-alerts` has a scrape, a board and rules for alerts.

A counter's sample ends with ``_total``. A histogram has ``_bucket``, ``_count`` and ``_sum``, in seconds; its buckets
end at {bounds} and infinity.

On Linux the figures of the process are there as well: ``pagent_process_cpu_seconds_total``,
``pagent_process_resident_memory_bytes``, ``pagent_process_virtual_memory_bytes``, ``pagent_process_open_fds``,
``pagent_process_max_fds`` and ``pagent_process_start_time_seconds``.

.. list-table::
   :header-rows: 1
   :widths: 34 12 18 36

   * - Name and labels
     - Kind
     - Of
     - Meaning
"""


def _name(metric: Metric) -> str:
    labels = ", ".join(metric.labels)
    return f"``{metric.name}``" + (f" ({labels})" if labels else "")


def page() -> str:
    """The whole page."""
    parts = [_HEAD.replace("{bounds}", ", ".join(f"{bound:g}" for bound in BUCKETS_S))]
    for metric in METRICS:
        of = "agent, router" if len(metric.roles) == 2 else metric.roles[0]
        parts.append(f"   * - {_name(metric)}\n     - {metric.kind}\n     - {of}\n     - {metric.help}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
