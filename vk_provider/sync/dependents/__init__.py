"""What pods need beside them: ConfigMaps, Secrets, tokens, certificates, Services, namespaces."""
