"""Leaf codecs: bytes in, values out, and back. No policy, and nothing imported from the stages."""
