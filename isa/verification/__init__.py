"""The static program verifier: what can be proved of every run before there is one."""
