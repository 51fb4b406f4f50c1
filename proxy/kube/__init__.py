"""Kubernetes: the sidecar is put into pods, by a webhook of the cluster or by hand, with the same code."""
