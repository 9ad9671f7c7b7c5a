"""The client port: the native protocol and HTTP/1.1 on one socket.

Law: this folder is a shell. It cuts bytes into requests, puts them through the one door
of service.py and writes the replies back; what a request means is decided behind that
door. HTTP is the only place where aiohttp is known. Modules are imported by name
(`.listener`, `.options`, `.service`), so that who needs the border alone does not pay
for an HTTP server.
"""
