"""What the tests share: factories of inputs."""
