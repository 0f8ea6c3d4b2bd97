"""What a Client is made of: connections, their fair use, proxies, the bodies of answers, and the errors of failures."""
