"""What runs inside a box: the action server. Standard library only, any python3 from 3.9 on Linux."""
