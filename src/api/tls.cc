// TlsFacts: finds the slot's session, and asks it or answers with nothing.
#include "net/reactor_impl.h"
#include "warren/tls_facts.h"

namespace warren {

TlsFacts SocketHandle::tls() const { return TlsFacts(id_); }

#if WARREN_TLS

namespace {

tls::Session* find(const detail::HandleId& id) {
  if (id.reactor == nullptr) return nullptr;
  const net::Connection* socket = id.reactor->findConnection({id.index, id.generation});
  return socket != nullptr && socket->secure() != nullptr ? socket->secure()->session.get()
                                                          : nullptr;
}

}  // namespace

TlsFacts::operator bool() const { return find(id_) != nullptr; }

bool TlsFacts::authorized() const {
  const tls::Session* session = find(id_);
  return session != nullptr && session->authorized();
}

Error TlsFacts::authorizationError() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->authorizationError() : Error();
}

std::string TlsFacts::alpnProtocol() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->alpnProtocol() : std::string();
}

std::string TlsFacts::serverName() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->serverName() : std::string();
}

TlsVersion TlsFacts::version() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->version() : TlsVersion::unknown;
}

std::string TlsFacts::cipher() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->cipher() : std::string();
}

std::string TlsFacts::keyExchange() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->keyExchange() : std::string();
}

bool TlsFacts::resumed() const {
  const tls::Session* session = find(id_);
  return session != nullptr && session->resumed();
}

std::vector<Certificate> TlsFacts::peerCertificates() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->peerCertificates() : std::vector<Certificate>();
}

std::optional<Certificate> TlsFacts::certificate() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->certificate() : std::nullopt;
}

std::string TlsFacts::session() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->session() : std::string();
}

Result<std::string> TlsFacts::exportKeyingMaterial(size_t size, std::string_view label,
                                                   std::string_view context) const {
  const tls::Session* session = find(id_);
  if (session == nullptr) return Error(Usage::closed, Step::none, "the socket has no TLS session");
  return session->exportKeyingMaterial(size, label, context);
}

std::string TlsFacts::finished() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->finished() : std::string();
}

std::string TlsFacts::peerFinished() const {
  const tls::Session* session = find(id_);
  return session != nullptr ? session->peerFinished() : std::string();
}

bool TlsFacts::setMaxSendFragment(size_t bytes) const {
  tls::Session* session = find(id_);
  return session != nullptr && session->setMaxSendFragment(bytes);
}

#else

TlsFacts::operator bool() const { return false; }
bool TlsFacts::authorized() const { return false; }
Error TlsFacts::authorizationError() const { return {}; }
std::string TlsFacts::alpnProtocol() const { return {}; }
std::string TlsFacts::serverName() const { return {}; }
TlsVersion TlsFacts::version() const { return TlsVersion::unknown; }
std::string TlsFacts::cipher() const { return {}; }
std::string TlsFacts::keyExchange() const { return {}; }
bool TlsFacts::resumed() const { return false; }
std::vector<Certificate> TlsFacts::peerCertificates() const { return {}; }
std::optional<Certificate> TlsFacts::certificate() const { return {}; }
std::string TlsFacts::session() const { return {}; }
Result<std::string> TlsFacts::exportKeyingMaterial(size_t, std::string_view,
                                                   std::string_view) const {
  return Error(Usage::unsupported, Step::none, "tls: warren was built without it");
}
std::string TlsFacts::finished() const { return {}; }
std::string TlsFacts::peerFinished() const { return {}; }
bool TlsFacts::setMaxSendFragment(size_t) const { return false; }

#endif

}  // namespace warren
