"""A twin of a real engine on this machine: OpenVINO GenAI's continuous batching on the CPU.

``graph`` builds a small Llama with weights from a seed, ``engine`` runs it and writes down each
step, ``blocks`` and ``mirror`` are the twin of its scheduler, ``replay`` compares the two step by
step, ``cost`` fits the time of a step, ``predict`` puts mirror and cost together, and ``probe``
judges whether the machine was quiet. Only ``graph`` and ``engine`` need the extra ``localtwin``.
"""
