"""Writing what the server measures to Cloud Monitoring, in the background; off unless ``SERVING_METRICS_EXPORT=cloud``.

``distribution`` counts (pure), ``exporter`` flushes from a thread of its own, ``cloud`` knows Google's client. Requests
only ever add to counters in memory: an outage of Cloud Monitoring costs points, never time.
"""
