// TlsFacts: finds the slot's session, and asks it or answers with nothing.
#include "net/reactor_impl.h"
#include "warren/tls_facts.h"

namespace warren {

TlsFacts SocketHandle::tls() const { return TlsFacts(id_); }

#if WARREN_TLS

namespace {

tls::Session* sessionOf(const detail::SocketId& id) {
  const net::Connection* socket = net::find(id);
  return socket != nullptr && socket->secure() != nullptr ? &socket->secure()->session : nullptr;
}

// What `question` is answered by the session, or nothing.
template <class Question>
auto ask(const detail::SocketId& id, const Question& question) {
  tls::Session* const session = sessionOf(id);
  return session != nullptr ? question(*session) : decltype(question(*session))();
}

}  // namespace

TlsFacts::operator bool() const { return sessionOf(id_) != nullptr; }

bool TlsFacts::authorized() const {
  return ask(id_, [](auto& session) { return session.authorized(); });
}
Error TlsFacts::authorizationError() const {
  return ask(id_, [](auto& session) { return session.authorizationError(); });
}
std::string TlsFacts::alpnProtocol() const {
  return ask(id_, [](auto& session) { return session.alpnProtocol(); });
}
std::string TlsFacts::serverName() const {
  return ask(id_, [](auto& session) { return session.serverName(); });
}
TlsVersion TlsFacts::version() const {
  return ask(id_, [](auto& session) { return session.version(); });
}
std::string TlsFacts::cipher() const {
  return ask(id_, [](auto& session) { return session.cipher(); });
}
std::string TlsFacts::keyExchange() const {
  return ask(id_, [](auto& session) { return session.keyExchange(); });
}
bool TlsFacts::resumed() const {
  return ask(id_, [](auto& session) { return session.resumed(); });
}
std::vector<Certificate> TlsFacts::peerCertificates() const {
  return ask(id_, [](auto& session) { return session.peerCertificates(); });
}
std::optional<Certificate> TlsFacts::certificate() const {
  return ask(id_, [](auto& session) { return session.certificate(); });
}
std::string TlsFacts::session() const {
  return ask(id_, [](auto& session) { return session.session(); });
}
std::string TlsFacts::ticket() const {
  return ask(id_, [](auto& session) { return session.ticket(); });
}
std::vector<std::string> TlsFacts::sharedSignatureAlgorithms() const {
  return ask(id_, [](auto& session) { return session.sharedSignatureAlgorithms(); });
}
Result<std::string> TlsFacts::exportKeyingMaterial(size_t size, std::string_view label,
                                                   std::string_view context) const {
  const tls::Session* session = sessionOf(id_);
  if (session == nullptr) return Error(Usage::closed, Step::none, "the socket has no TLS session");
  return session->exportKeyingMaterial(size, label, context);
}
std::string TlsFacts::finished() const {
  return ask(id_, [](auto& session) { return session.finished(); });
}
std::string TlsFacts::peerFinished() const {
  return ask(id_, [](auto& session) { return session.peerFinished(); });
}
bool TlsFacts::setMaxSendFragment(size_t bytes) const {
  return ask(id_, [&](auto& session) { return session.setMaxSendFragment(bytes); });
}
bool TlsFacts::setServerName(std::string_view name) const {
  return ask(id_, [&](auto& session) { return session.setServerName(name); });
}
bool TlsFacts::setSession(std::string_view bytes) const {
  return ask(id_, [&](auto& session) { return session.setSession(bytes); });
}
bool TlsFacts::setVerifyMode(bool requestCert, bool rejectUnauthorized) const {
  return ask(id_,
             [&](auto& session) { return session.setVerifyMode(requestCert, rejectUnauthorized); });
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
std::string TlsFacts::ticket() const { return {}; }
std::vector<std::string> TlsFacts::sharedSignatureAlgorithms() const { return {}; }
Result<std::string> TlsFacts::exportKeyingMaterial(size_t, std::string_view,
                                                   std::string_view) const {
  return Error(Usage::unsupported, Step::none, "tls: warren was built without it");
}
std::string TlsFacts::finished() const { return {}; }
std::string TlsFacts::peerFinished() const { return {}; }
bool TlsFacts::setMaxSendFragment(size_t) const { return false; }
bool TlsFacts::setServerName(std::string_view) const { return false; }
bool TlsFacts::setSession(std::string_view) const { return false; }
bool TlsFacts::setVerifyMode(bool, bool) const { return false; }

#endif

}  // namespace warren
