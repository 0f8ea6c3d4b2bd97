"""What pods need in a member besides themselves: ConfigMaps, Secrets, tokens, certificates, Services, namespaces."""
