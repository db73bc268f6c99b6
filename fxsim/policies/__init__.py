"""Precision policies, one a file; `fxsim.policies.registry` names them."""
