"""A twin of a real engine on this machine: OpenVINO GenAI on the CPU."""
