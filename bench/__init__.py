"""The cost of Fusebox beside other proxies: the same load, the same machine, the same run. See README.md."""
