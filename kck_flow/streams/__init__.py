"""STREAMS: what arrives: messages and items, into products, nothing missed and nothing counted twice."""
