#include "tls_ends.h"

#include <map>
#include <utility>

#include "tls/session_cache.h"
#include "tls_fixed.h"

namespace warren::fuzz {
namespace {

using tls::Role;
using tls::Session;
using State = Session::State;

// While it lives, chance is this end's.
class OwnChance {
 public:
  explicit OwnChance(uint64_t& row) : row_(row) { setChance(row); }
  ~OwnChance() { row_ = chance(); }
  OwnChance(const OwnChance&) = delete;
  OwnChance& operator=(const OwnChance&) = delete;

 private:
  uint64_t& row_;
};

}  // namespace

std::string textAt(size_t position, size_t size) {
  std::string text(size, '\0');
  for (size_t at = 0; at < size; ++at) {
    const size_t here = position + at;
    text[at] = static_cast<char>('!' + (here * 7 + here / 90 * 11) % 90);
  }
  return text;
}

// --- one end -----------------------------------------------------------------------------------

void End::feed(Bytes cipher, size_t room) {
  const OwnChance own(chance);
  const std::vector<std::byte> exact(cipher.begin(), cipher.end());  // a sanitizer sees its end
  std::vector<std::byte> into(room);
  Bytes input = exact;
  for (;;) {
    const bool over = failed();
    const size_t before = output().size();
    const Session::Received got = session->receive(input, into);
    require(!over || (got.state == State::failed && output().size() == before));
    require(!ended || got.state == State::ended || got.state == State::failed);
    // What came before a bad record is passed on; the next call tells of it.
    require(failed() ? got.state == State::failed || got.state == State::plaintext
                     : got.state != State::failed);
    if (got.state == State::plaintext) {
      require(session->ready() && got.plain > 0 && got.plain <= room);
      plain += asText(Bytes(into).first(got.plain));
      continue;
    }
    if (got.state == State::ready) {
      require(session->ready() && ++readies == 1);
      continue;
    }
    require(input.empty() && !session->pending());
    ended = ended || got.state == State::ended;
    return;
  }
}

std::string End::take() {
  std::string all;
  for (const Bytes part : output().readable()) all += asText(part);
  output().clear();
  return all;
}

void End::send(size_t size) {
  if (!session->ready()) return;
  const OwnChance own(chance);
  const std::string text = textAt(sent.size(), size);
  const bool able = !failed() && !closed;
  const Result<size_t> taken = session->send(asBytes(text));
  require(taken.operator bool() == able);
  if (!taken) return;
  require(*taken == size);
  sent += text;
}

void End::close() {
  const OwnChance own(chance);
  const bool says = session->ready() && !closed && !failed();
  const size_t before = output().size();
  session->close();
  require((output().size() > before) == says);
  closed = closed || says;
}

void End::askFacts() {
  const bool ready = session->ready();
  require((session->version() != TlsVersion::unknown) == ready);
  require(session->cipher().empty() != ready);
  require(!session->authorized() || (ready && !session->authorizationError()));
  require(session->peerCertificates().size() <= 2);
  const Result<std::string> material = session->exportKeyingMaterial(32, "label", {});
  require(material.operator bool() == ready);
  require(!session->exportKeyingMaterial(0, "label", "context"));
  require(!session->setMaxSendFragment(511) && session->setMaxSendFragment(1024));
  require(!session->setSession("none"));
  for (const std::string& each :
       {session->alpnProtocol(), session->serverName(), session->keyExchange(), session->finished(),
        session->peerFinished(), session->session()}) {
    require(each.size() < 16384);
  }
  if (const auto shown = session->certificate()) require(!shown->subject.empty());
}

// --- both --------------------------------------------------------------------------------------

namespace {

bool bit(uint32_t choices, int number) { return (choices >> number & 1) != 0; }

TlsOptions serverOptions(uint32_t choices) {
  const Identities& known = identities();
  const test::Identity& shown = bit(choices, 0) ? known.stranger : known.localhost;
  TlsOptions options{.key = shown.key, .cert = shown.cert, .ca = known.authority.cert};
  options.requestCert = bit(choices, 1);
  if (bit(choices, 2)) options.alpn = {"echo", "other"};
  if (bit(choices, 3)) options.ticketKeys = {std::string(48, 'k'), std::string(48, 'l')};
  options.sessionTickets = !bit(choices, 4);
  if (bit(choices, 5)) options.minVersion = TlsVersion::tls13;
  if (bit(choices, 6)) options.keylog = [](std::string_view line) { require(!line.empty()); };
  if (bit(choices, 7)) options.maxSendFragment = 512;
  options.curves = {"X25519"};  // the others draw from where nobody can answer
  return options;
}

TlsOptions clientOptions(uint32_t choices) {
  const Identities& known = identities();
  TlsOptions options{.ca = known.authority.cert};
  if (bit(choices, 8)) {
    options.key = known.example.key;
    options.cert = known.example.cert;
  }
  if (bit(choices, 2)) options.alpn = {bit(choices, 9) ? "unheard" : "echo"};
  options.rejectUnauthorized = !bit(choices, 10);
  if (bit(choices, 11)) options.maxVersion = TlsVersion::tls12;
  options.cacheSessions = bit(choices, 12);
  if (bit(choices, 7)) options.maxSendFragment = 512;
  options.curves = {"X25519"};
  return options;
}

constexpr uint32_t kServerBits = 0xff;
constexpr uint32_t kClientBits = 0x1f84;
constexpr uint32_t kWelcome =
    0x500;  // a client whom every server takes, and who takes every server

std::shared_ptr<const tls::Credentials> made(const TlsOptions& options, Role role) {
  auto credentials = tls::makeCredentials(options, role);
  require(credentials.operator bool());
  return *credentials;
}

// Carries all that is said to its end.
void settle(End& client, End& server) {
  client.feed({}, 4096);
  while (!client.output().empty() || !server.output().empty()) {
    server.feed(asBytes(client.take()), 4096);
    client.feed(asBytes(server.take()), 4096);
  }
}

// Making one costs more than a handshake. The first handshake of a policy also makes its ticket keys,
// which is chance of its own.
std::shared_ptr<const tls::ServerPolicy> serverPolicy(uint32_t choices) {
  static std::map<uint32_t, std::shared_ptr<const tls::ServerPolicy>> known;
  auto& policy = known[choices & kServerBits];
  if (policy) return policy;
  setChance(2);
  auto fresh = std::make_shared<tls::ServerPolicy>();
  fresh->fallback = made(serverOptions(choices), Role::server);
  TlsOptions other = serverOptions(choices & ~1u);
  other.key = identities().example.key;
  other.cert = identities().example.cert;
  fresh->named.push_back({"*.example.com", made(other, Role::server)});
  policy = std::move(fresh);
  Setup first((choices & kServerBits) | kWelcome);
  End client = clientOf(first);
  End server = serverOf(first);
  settle(client, server);
  return policy;
}

std::shared_ptr<const tls::Credentials> clientPolicy(uint32_t choices) {
  static std::map<uint32_t, std::shared_ptr<const tls::Credentials>> known;
  auto& policy = known[choices & kClientBits];
  if (!policy) policy = made(clientOptions(choices), Role::client);
  return policy;
}

}  // namespace

End clientOf(const Setup& setup) {
  End end;
  end.chance = 0x1234567;
  const OwnChance own(end.chance);
  auto session = Session::client(setup.client, setup.host, *end.transport);
  require(session.operator bool());
  end.session = std::move(*session);
  if (!setup.session.empty()) require(end.session->setSession(setup.session));
  return end;
}

End serverOf(const Setup& setup) {
  End end;
  end.chance = 0x89abcdf;
  const OwnChance own(end.chance);
  auto session = Session::server(setup.server, *end.transport);
  require(session.operator bool());
  end.session = std::move(*session);
  return end;
}

Setup::Setup(uint32_t choices) {
  tls::SessionCache::ofProcess().clear();
  static const char* const hosts[] = {"localhost", "www.example.com", "localhost", "127.0.0.1"};
  host = hosts[choices >> 13 & 3];
  const bool named = host == "www.example.com";
  server = serverPolicy(choices);
  client = clientPolicy(choices);
  remembers = bit(choices, 12);
  const bool trusted = named || (host == "localhost" && !bit(choices, 0));
  agreeable = (trusted || bit(choices, 10)) && (!bit(choices, 1) || bit(choices, 8)) &&
              !(bit(choices, 2) && bit(choices, 9)) && !(bit(choices, 5) && bit(choices, 11));
  if (!agreeable || !bit(choices, 15)) return;
  End first = clientOf(*this);
  End other = serverOf(*this);
  settle(first, other);
  session = first.session->session();
}

// --- the wire ----------------------------------------------------------------------------------

namespace {

constexpr size_t kHeader = 5;

// Where the records of a text begin, as far as their headers go.
std::vector<size_t> recordsOf(const std::string& text) {
  std::vector<size_t> starts;
  for (size_t at = 0; at + kHeader <= text.size();) {
    starts.push_back(at);
    at += kHeader + static_cast<uint8_t>(text[at + 3]) * size_t{256} +
          static_cast<uint8_t>(text[at + 4]);
  }
  starts.push_back(text.size());
  return starts;
}

void setLength(std::string& record) {
  if (record.size() < kHeader) return;
  record[3] = static_cast<char>((record.size() - kHeader) >> 8);
  record[4] = static_cast<char>(record.size() - kHeader);
}

// What the fuzzer does to bytes on their way.
class Wire {
 public:
  explicit Wire(Input& input) : input_(input) {}

  bool changed() const { return changed_; }

  std::string carry(const std::string& text) {
    std::string other = text;
    for (size_t changes = input_.byte() % 4; changes > 0; --changes) change(other);
    changed_ = changed_ || other != text;
    last_ = text;
    return other;
  }

 private:
  void change(std::string& text) {
    const uint8_t how = input_.byte() % 10;
    if (how < 6) return changeRecord(text, how);
    const size_t at = input_.below(text.size() + 1);
    switch (how) {
      case 6:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ input_.byte());
        return;
      case 7:
        text.erase(at, input_.byte());
        return;
      case 8:
        text.insert(at, asText(input_.take(input_.byte())));
        return;
      default:
        input_.byte() % 2 != 0 ? text += last_ : text = asText(input_.take(input_.byte()));
    }
  }

  void changeRecord(std::string& text, uint8_t how) {
    const std::vector<size_t> starts = recordsOf(text);
    if (starts.size() < 2) return;
    const size_t index = input_.below(starts.size() - 1);
    const size_t start = starts[index];
    const size_t size = std::min(starts[index + 1], text.size()) - start;
    std::string record = text.substr(start, size);
    switch (how) {
      case 0:  // twice
        text.insert(start, record);
        return;
      case 1:  // not at all
        text.erase(start, size);
        return;
      case 2:  // later
        text.erase(start, size);
        text += record;
        return;
      case 3:  // in two, which is as good
        return split(text, start, record);
      case 4:  // shorter or longer, and saying so
        if (input_.byte() % 2 != 0) {
          record.resize(record.size() - std::min<size_t>(record.size(), 1));
        } else {
          record += asText(input_.take(input_.byte()));
        }
        setLength(record);
        text.replace(start, size, record);
        return;
      default:  // with another one before it
        record = std::string(1, static_cast<char>(20 + input_.byte() % 6)) + "\3\3\0\0";
        record += asText(input_.take(input_.byte()));
        setLength(record);
        text.insert(start, record);
    }
  }

  void split(std::string& text, size_t start, const std::string& record) {
    if (record.size() < kHeader + 2) return;
    const size_t at = kHeader + 1 + input_.below(record.size() - kHeader - 1);
    std::string first = record.substr(0, at);
    std::string second = record.substr(0, kHeader) + record.substr(at);
    setLength(first);
    setLength(second);
    text.replace(start, record.size(), first + second);
  }

  Input& input_;
  std::string last_;
  bool changed_ = false;
};

// What was done to the end under test, for doing it again.
struct Deed {
  enum class Kind : uint8_t { feed, send, close, facts };
  Kind kind;
  std::string bytes{};
  size_t size = 0;
};

class Run {
 public:
  Run(Setup setup, Input& input, Tested tested)
      : setup_(std::move(setup)),
        input_(input),
        wire_(input),
        tested_(tested),
        client_(clientOf(setup_)),
        server_(serverOf(setup_)) {}

  void all() {
    room_ = 1 + input_.magnitude(16383);
    chunk_ = 1 + input_.magnitude(16383);
    if (tested_ == Tested::client) deed({Deed::Kind::feed});
    if (tested_ == Tested::server) client_.feed({}, room_);
    for (int rounds = 0; rounds < 20 && !input_.empty(); ++rounds) {
      exchange();
      speak();
    }
    do {
      exchange();
    } while (!client_.output().empty() || !server_.output().empty());
    requirePromises();
    requireSameWhole();
  }

 private:
  End& own() { return tested_ == Tested::server ? server_ : client_; }
  End& other() { return tested_ == Tested::server ? client_ : server_; }

  void exchange() {
    const std::string toOwn = wire_.carry(other().take());
    if (!toOwn.empty()) deed({Deed::Kind::feed, toOwn});
    std::string said = own().take();
    output_ += said;
    if (!said.empty()) other().feed(asBytes(said), 16384);
  }

  void speak() {
    const uint8_t choice = input_.byte();
    switch (choice % 8) {
      case 0:
      case 1:
        return deed({Deed::Kind::send, {}, input_.magnitude(20'000)});
      case 2:
      case 3:
        return other().send(input_.magnitude(20'000));
      case 4:
        return deed({Deed::Kind::close});
      case 5:
        return other().close();
      case 6:
        return deed({Deed::Kind::facts});
      default:
        return other().askFacts();
    }
  }

  void deed(Deed what) {
    doIt(own(), what, chunk_);
    deeds_.push_back(std::move(what));
  }

  void doIt(End& end, const Deed& what, size_t chunk) const {
    switch (what.kind) {
      case Deed::Kind::send:
        return end.send(what.size);
      case Deed::Kind::close:
        return end.close();
      case Deed::Kind::facts:
        return end.askFacts();
      case Deed::Kind::feed:
        break;
    }
    size_t at = 0;
    do {
      const std::string_view piece = std::string_view(what.bytes).substr(at, chunk);
      end.feed(asBytes(piece), room_);
      at += piece.size();
    } while (at < what.bytes.size());
  }

  static void requirePrefix(const End& from, const End& to) {
    require(from.sent.starts_with(to.plain));
    require(!to.ended || (from.closed && to.plain == from.sent));
  }

  void requirePromises() {
    requirePrefix(client_, server_);
    requirePrefix(server_, client_);
    if (wire_.changed()) return;
    if (!setup_.agreeable) return require(client_.failed() || server_.failed());
    require(client_.readies == 1 && server_.readies == 1);
    require(!client_.failed() && !server_.failed());
    require(server_.plain == client_.sent && client_.plain == server_.sent);
    require(server_.ended == client_.closed && client_.ended == server_.closed);
  }

  // The same bytes in whole pieces: the same answers, to the bit.
  void requireSameWhole() {
    if (setup_.remembers || !chanceIsOurs()) return;
    End again = tested_ == Tested::server ? serverOf(setup_) : clientOf(setup_);
    std::string output;
    for (const Deed& each : deeds_) {
      doIt(again, each, SIZE_MAX);
      output += again.take();
    }
    require(again.plain == own().plain && again.ended == own().ended);
    require(again.readies == own().readies && again.sent == own().sent);
    require(again.session->error().name() == own().session->error().name());
    require(output == output_);
  }

  Setup setup_;
  Input& input_;
  Wire wire_;
  Tested tested_;
  End client_;
  End server_;
  size_t room_ = 0;
  size_t chunk_ = 0;
  std::vector<Deed> deeds_;
  std::string output_;
};

// Bytes of nobody: the end never becomes ready, and nothing comes out.
void feedRaw(const Setup& setup, Input& input, Tested tested) {
  End end = tested == Tested::server ? serverOf(setup) : clientOf(setup);
  end.feed({}, 64);
  while (!input.empty()) end.feed(input.take(1 + input.magnitude(4096)), 64);
  require(end.readies == 0 && end.plain.empty() && !end.ended);
}

}  // namespace

void runEnds(Bytes bytes, Tested tested) {
  Input input(bytes);
  const auto choices = static_cast<uint32_t>(input.number(3));
  Setup setup(choices);
  if (bit(choices, 16)) return feedRaw(setup, input, tested);
  Run(std::move(setup), input, tested).all();
}

}  // namespace warren::fuzz
