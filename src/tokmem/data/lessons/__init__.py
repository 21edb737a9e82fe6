"""Lessons: what a procedure is learned from without labels, such as a prompt, a skill or a tool."""
