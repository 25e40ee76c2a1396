//! The certificate authority of the test cluster.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// The certificate authority that the API server trusts.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub(crate) certificate: String,
}

/// A certificate and its key.
pub(crate) struct Certificate {
    /// The certificate, in PEM.
    pub(crate) certificate: String,
    /// The private key, in PEM.
    pub(crate) key: String,
}

impl Authority {
    /// Creates an authority with a new key.
    ///
    /// # Errors
    /// If no key can be generated.
    pub(crate) fn create() -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "mcpserver-scaling-cluster-tests");
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(parameters, key), certificate })
    }

    /// A certificate for a server on the loopback interface, or for a client that is this user in this group.
    ///
    /// # Errors
    /// If no key can be generated.
    pub(crate) fn sign(&self, user: &str, group: &str) -> Result<Certificate> {
        let mut parameters = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters.distinguished_name.push(DnType::OrganizationName, group);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        Ok(Certificate { certificate, key: key.serialize_pem() })
    }
}
