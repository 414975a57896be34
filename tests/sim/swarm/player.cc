#include "player.h"

#include <algorithm>

#include "base/check.h"

namespace warren::swarm {

using namespace std::chrono_literals;

namespace {

constexpr size_t kBuffers[][2] = {{131072, 131072}, {4096, 4096}, {256, 512}, {65536, 1024}};
struct Budget {
  size_t read;
  size_t accept;
  size_t queued;
};
constexpr Budget kBudgets[] = {
    {262144, 64, kAmple}, {1, 1, kAmple}, {1000, 2, 50'000}, {65536, 64, kAmple}};
constexpr uint64_t kTurnLimit = 100'000;
constexpr size_t kFew = 6;
constexpr size_t kSlotsOfAPage = 64;
constexpr size_t kEnough = 1u << 20;

const Address kServer = Address::ipv4({10, 0, 0, 1}, 5000);
const Address kNobody = Address::ipv4({10, 0, 0, 2}, 5000);
const Address kSecure = Address::ipv4({10, 0, 0, 1}, 5001);
const Address kBlackHole = Address::ipv4({10, 0, 0, 3}, 5000);
constexpr const char* kServerPath = "/sim/server";

ReactorOptions optionsOf(const Program& program) {
  ReactorOptions options;
  const Budget& budget = kBudgets[program.budget % 4];
  options.readBudget = budget.read;
  options.acceptBudget = budget.accept;
  options.maxQueued = budget.queued;
  options.resolve = [](const std::string&, const ResolveAnswer& answer) {
    answer(std::vector<Address>{kBlackHole, kServer});
  };
  return options;
}

Duration milliseconds(uint64_t count) { return std::chrono::milliseconds(count); }

}  // namespace

sim::Chaos chaosOf(uint32_t kind, uint64_t seed) {
  sim::Chaos chaos{.seed = seed};
  const bool all = kind >= 5;
  if (kind == 1 || all) {
    chaos.shortReads = chaos.shortWrites = kind == 1 ? 500 : 100;
    chaos.refusals = 50;
  }
  if (kind == 2 || all) {
    chaos.interrupts = chaos.spurious = chaos.strays = chaos.duplicates = 50;
    chaos.delays = 150;
    chaos.shuffles = 300;
  }
  if (kind == 3 || all) {
    chaos.resets = kind == 7 ? 2 : 15;
    chaos.noBuffers = kind == 7 ? 1 : 5;
  }
  if (kind == 4 || all) {
    chaos.noDescriptors = chaos.aborts = kind == 7 ? 5 : 60;
    chaos.slowConnects = 200;
    chaos.failedConnects = 100;
  }
  if (kind == 8) chaos.noMemory = 100;
  if (kind == 9) chaos.noMemory = 5;
  return chaos;
}

Player::Player(const Program& program)
    : program_(program),
      tls_(tlsBuilt() ? program.tls : 0),
      server_(kernel_.serve(kServer)),
      unixServer_(kernel_.serveUnix(kServerPath)),
      secureServer_(kernel_.serve(kSecure)),
      chaos_(chaosOf(program.chaos, program.seed)),
      maxQueued_(optionsOf(program).maxQueued) {
  seedTls(program.seed);
  if (program.kqueue != 0) kernel_.readiness(sim::Readiness::kqueue);
  kernel_.allowIdle();
  kernel_.buffers(kBuffers[program.buffers % 4][0], kBuffers[program.buffers % 4][1]);
  kernel_.plan(kBlackHole, {.blackHole = true});
  owned_.emplace(optionsOf(program));
  tables_.push_back(true);  // no table has number 0
}

Player::~Player() = default;

bool Player::expect(bool truth, std::string_view what) {
  if (!truth && !failure_) failure_ = "operation " + std::to_string(at_) + ": " + std::string(what);
  return truth;
}

bool Player::expect(bool truth, const User& user, std::string_view what) {
  if (truth || failure_) return truth;
  return expect(false, "socket " + std::to_string(user.key) + ": " + std::string(what));
}

std::optional<std::string> Player::play() {
  rage();
  for (at_ = 0; at_ < program_.operations.size() && !failure_; ++at_) {
    perform(program_.operations[at_]);
  }
  if (!failure_ && program_.tidy != 0) finale();
  if (failure_) *failure_ += "; " + owned_->dump();
  // What the peers' ends need is the kernel's, which goes last.
  for (auto& each : reactions_) each.clear();
  owned_.reset();
  expect(kernel_.openDescriptors().empty(), "a descriptor was left open");
  groups_.clear();
  expect(liveTags_ == 0, "Data was not destroyed, or twice");
  expect(std::count(tables_.begin() + 1, tables_.end(), true) == 0,
         "a handler table was not freed");
  return failure_;
}

void Player::perform(const Operation& operation) {
  if (operation.when != When::now) {
    schedule(operation);
  } else {
    doVerb(operation, nullptr);
  }
  for (uint32_t turn = 0; turn < operation.turns && !failure_; ++turn) step();
  checkCounts();
}

// For the handler to come; or given to the reactor.
void Player::schedule(const Operation& operation) {
  const auto act = [this, operation] { doVerb(operation, nullptr); };
  if (operation.when == When::posted) return owned_->post(act);
  if (operation.when == When::deferred) return owned_->defer(act);
  if (operation.when != When::later) {
    return reactions_[static_cast<size_t>(operation.when)].push_back(operation);
  }
  const uint64_t delay = operation.amount % 300;
  const uint64_t due = now() + delay * kMillisecond;
  const Result<Timer> timer = owned_->after(milliseconds(delay), [this, operation, due] {
    expect(now() >= due, "a timer was early");
    doVerb(operation, nullptr);
  });
  expect(timer || noMemory(), "a timer was refused");
}

void Player::doVerb(const Operation& operation, User* self) {
  if (over_ || failure_) return;
  switch (operation.verb) {
    case Verb::listen:
    case Verb::listenUnix:
      return listen(operation);
    case Verb::stop:
    case Verb::stopActive:
    case Verb::drain:
    case Verb::reloadListener:
      return doListener(operation);
    case Verb::arrive:
      return arrive(operation);
    case Verb::dial:
      return dial(operation);
    case Verb::adopt:
      return adopt(operation);
    case Verb::churn:
      return churn(operation);
    case Verb::elapse:
      return elapse(operation.amount % 16 == 0 ? operation.amount % 3000 : operation.amount % 200);
    case Verb::descriptors:
      fewDescriptors_ = operation.amount % 2 == 0;
      everFew_ |= fewDescriptors_;
      return kernel_.descriptorLimit(fewDescriptors_ ? kFew : kEnough);
    case Verb::quiesce:
      return quiesce();
    default:
      break;
  }
  WARREN_CHECK(operation.verb < Verb::count);
  if (operation.verb >= Verb::peerSend) return doPeer(operation);
  User* user = self != nullptr && operation.who % 2 == 0 ? self : pickUser(operation.who / 2);
  if (user != nullptr) doUser(operation, *user);
}

void Player::doListener(const Operation& operation) {
  Group* group = pickListener(operation.who);
  if (group == nullptr) return;
  if (operation.verb == Verb::reloadListener) return reload(*group, nullptr);
  if (operation.verb == Verb::drain) {
    group->listening = false;
    group->draining = true;
    const Result<void> drained = group->listener.drain(milliseconds(operation.amount % 1000),
                                                       [this](const Drained&) { --drainsOwed_; });
    if (expect(static_cast<bool>(drained), "a listener did not drain")) ++drainsOwed_;
    return;
  }
  const bool active = operation.verb == Verb::stopActive;
  group->listening = false;
  for (User& user : users_) {
    if (active && user.group == group && user.live()) user.ending = true;
  }
  group->listener.stop(active);
  for (User& user : users_) {
    if (active && user.group == group && user.opened) {
      expect(user.closed, user, "stop(true) left a socket open");
    }
  }
}

void Player::doUser(const Operation& operation, User& user) {
  const size_t size = operation.amount;
  switch (operation.verb) {
    case Verb::write:
      return write(user, size);
    case Verb::send:
      return send(user, size);
    case Verb::sink:
      return writeSink(user, size);
    case Verb::cork:
      return writeCorked(user, size);
    case Verb::flush:
      return user.socket.flush();
    case Verb::end:
      return end(user, 0);
    case Verb::endWith:
      return end(user, size);
    case Verb::close:
    case Verb::terminate:
      return close(user, operation.verb == Verb::terminate);
    case Verb::shutWrite:
      user.socket.shutdown(Side::write);
      if (user.live()) user.finished = true;
      user.drainOwed = user.drainOwed && !user.live();
      return;
    case Verb::shutRead:
      user.socket.shutdown(Side::read);
      if (user.live()) user.muted = true;
      user.paused = false;
      return;
    case Verb::pause:
      user.socket.pause();
      if (user.live()) user.paused = !user.unpausable;
      return;
    case Verb::resume:
      user.paused = false;
      return user.socket.resume();
    case Verb::timeout:
    case Verb::idleTimeout:
      return setTimeout(user, operation.amount % 400, operation.verb == Verb::idleTimeout);
    case Verb::reload:
      return reload(*user.group, &user);
    case Verb::upgrade:
      return upgrade(user, operation.amount);
    case Verb::unref:
      return user.socket.unref();
    case Verb::ask:
      return ask(user);
    default:
      return;
  }
}

void Player::doPeer(const Operation& operation) {
  PeerEnd* end = pickPeer(operation.who);
  if (end == nullptr || doSealedPeer(operation, *end)) return;
  switch (operation.verb) {
    case Verb::peerSend:
      if (!end->finished) end->sent += end->peer.send(payload(*end, operation.amount));
      return;
    case Verb::peerRead:
      return readPeer(*end, operation.amount);
    case Verb::peerReadAll:
      return readPeer(*end, SIZE_MAX);
    case Verb::peerEnd:
      end->finished = true;
      return end->peer.shutdownWrite();
    case Verb::peerReset:
    case Verb::peerClose:
      end->finished = end->gone = true;
      return operation.verb == Verb::peerReset ? end->peer.reset() : end->peer.close();
    default:
      return;
  }
}

// --- making ----------------------------------------------------------------------------------------

Group& Player::newGroup(uint32_t choice) {
  Group& group = groups_.emplace_back();
  group.halfOpen = (choice & 1) != 0;
  const size_t number = groups_.size();
  group.tls = (tls_ & 1) != 0 && number % 2 == 1;
  if ((tls_ & 2) != 0) {
    group.listens = number / 2 % 2 == 0;
    group.manner = {.old = number % 5 == 4, .tolerant = number % 7 == 3};
  }
  if ((choice & 6) == 2) group.highWaterMark = 1000;
  if ((choice & 24) == 8) group.highWaterMark = 2000, group.maxQueued = 20'000;
  if ((choice & 96) == 32) group.lingerBytes = 5000;
  if ((choice & 384) == 128) group.maxConnections = 2;
  return group;
}

User& Player::newUser(Group& group) {
  User& user = users_.emplace_back();
  user.key = ++keys_;
  user.group = &group;
  user.user = &user;
  user.sealed = group.tls;
  return user;
}

PeerEnd& Player::newPeer(sim::Peer peer) {
  PeerEnd& end = peers_.emplace_back();
  end.key = ++keys_;
  end.peer = peer;
  end.kernel = &peer.inside();
  ends_[end.kernel] = &end;
  return end;
}

void Player::listen(const Operation& operation) {
  Group& group = newGroup(operation.amount);
  ListenOptions<Tag> options{.socket = handlers(group), .data = Tag(&liveTags_)};
  if (operation.verb == Verb::listenUnix) {
    options.unix = group.path = "/sim/" + std::to_string(groups_.size());
  } else {
    options.hostname = "127.0.0.1";
    options.port = group.port = static_cast<uint16_t>(1000 + groups_.size());
  }
  options.allowHalfOpen = group.halfOpen;
  options.highWaterMark = group.highWaterMark;
  options.maxQueued = group.maxQueued;
  options.maxConnections = group.maxConnections;
  options.linger = {milliseconds(kLinger), group.lingerBytes};
  if (group.tls) options.tls = serverTls(group.manner);
  Result<Listener<Tag>> listener = owned_->listen(std::move(options));
  expect(listener || faulty_ || fewDescriptors_,
         "a listener could not be made: " + listener.error().message());
  if (!listener) return;
  group.listener = *listener;
  group.listening = true;
}

void Player::arrive(const Operation& operation) {
  Group* group = pickListener(operation.who);
  if (group == nullptr || (group->tls && (tls_ & 2) == 0)) return;
  PeerEnd& peer = newPeer(group->path.empty() ? kernel_.connect(group->port)
                                              : kernel_.connectUnix(group->path));
  if (!group->tls) return;
  if (operation.amount % 8 != 0) return seal(peer, Far::Role::client);
  peer.meddled = true;  // it speaks no TLS
}

void Player::churn(const Operation& operation) {
  const size_t first = peers_.size();
  for (size_t count = 0; count < kSlotsOfAPage; ++count) arrive({.who = operation.who});
  step();
  for (size_t at = first; at < peers_.size(); ++at) {
    PeerEnd& peer = peers_[at];
    const bool reset = operation.amount % 2 == 0;
    if (peer.gone || peer.finished) continue;
    if (peer.sealed) {
      leaveSealed(peer, reset, false);
      continue;
    }
    peer.finished = peer.gone = true;
    reset ? peer.peer.reset() : peer.peer.close();
  }
  step();
}

// Connecting begins, or there was no memory for it and nobody hears of it again.
void Player::started(User& user, const Result<Socket<Tag>>& socket) {
  expect(socket || noMemory(), user, "connect was refused");
  if (!socket) user.refused = user.never = true;
  if (socket) user.socket = *socket;
}

void Player::dial(const Operation& operation) {
  Group& group = newGroup(operation.amount >> 3);
  group.tls = false;
  User& user = newUser(group);
  ConnectOptions<Tag> options{.socket = handlers(group),
                              .data = Tag(&liveTags_, static_cast<int>(users_.size()) - 1)};
  Address to = kServer;
  const Group* own = pickListener(operation.who);
  const bool secure = own != nullptr && own->tls && operation.amount % 8 > 1;
  switch (secure ? 1 : operation.amount % 8) {
    case 0:
      options.unix = kServerPath;
      break;
    case 1:
      user.sure = false;
      group.tls = own != nullptr && own->tls;
      if (own != nullptr && !own->path.empty()) options.unix = own->path;
      if (own != nullptr && own->path.empty()) to = Address::ipv4({127, 0, 0, 1}, own->port);
      break;
    case 2:
      to = operation.who % 2 == 0 ? kNobody : kBlackHole;
      user.sure = false;
      break;
    case 3:
      options.hostname = "server.example";
      break;
    case 4:
      if ((tls_ & 2) == 0) break;
      to = kSecure;
      group.tls = true;
      user.sure = false;
      break;
    default:
      break;
  }
  user.sealed = group.tls;
  if (group.tls) options.tls = clientTls(group.manner);
  if (options.unix.empty()) {
    if (options.hostname.empty()) options.hostname = to.host();
    options.port = to.port();
  }
  options.allowHalfOpen = group.halfOpen;
  options.connectTimeout = milliseconds(kConnectTimeout);
  options.highWaterMark = group.highWaterMark;
  options.maxQueued = group.maxQueued;
  options.linger = {milliseconds(kLinger), group.lingerBytes};
  Result<Socket<Tag>> socket = owned_->connect(std::move(options));
  started(user, socket);
}

void Player::adopt(const Operation& operation) {
  if (fewDescriptors_) return;
  const auto [fd, peer] =
      kernel_.connectedPair(operation.amount % 2 == 0 ? Family::ipv4 : Family::unix);
  newPeer(peer);
  Group& group = newGroup(operation.amount >> 3);
  group.tls = false;
  User& user = newUser(group);
  user.sure = false;  // the peer may be gone by then
  ConnectOptions<Tag> options{.fd = fd,
                              .socket = handlers(group),
                              .data = Tag(&liveTags_, static_cast<int>(users_.size()) - 1)};
  options.allowHalfOpen = group.halfOpen;
  options.highWaterMark = group.highWaterMark;
  options.maxQueued = group.maxQueued;
  options.linger = {milliseconds(kLinger), group.lingerBytes};
  Result<Socket<Tag>> socket = owned_->connect(std::move(options));
  started(user, socket);
  if (!socket) os::sys::close(fd);  // an error leaves it to the caller
}

// --- picking ---------------------------------------------------------------------------------------

namespace {

// Mostly among those that fit, at times among all.
template <class Item, class Fits>
Item* pick(std::deque<Item>& items, uint32_t who, const Fits& fits) {
  if (items.empty()) return nullptr;
  std::vector<Item*> fitting;
  for (Item& item : items) {
    if (fits(item)) fitting.push_back(&item);
  }
  if (who % 8 == 7 || fitting.empty()) return &items[who % items.size()];
  return fitting[who % fitting.size()];
}

}  // namespace

User* Player::pickUser(uint32_t who) {
  return pick(users_, who, [](const User& user) { return user.live(); });
}

PeerEnd* Player::pickPeer(uint32_t who) {
  PeerEnd* end = pick(peers_, who, [](const PeerEnd& peer) { return !peer.gone; });
  return end != nullptr && !end->gone ? end : nullptr;
}

Group* Player::pickListener(uint32_t who) {
  Group* group = pick(groups_, who, [](const Group& each) { return each.listening; });
  return group != nullptr && group->listening ? group : nullptr;
}

std::string_view Player::payload(const End& from, size_t size) {
  scratch_.resize(size);
  for (size_t at = 0; at < size; ++at) scratch_[at] = byteOf(from.key, from.sent + at);
  return scratch_;
}

// --- time ------------------------------------------------------------------------------------------

void Player::step(Duration patience) {
  ++turns_;
  owned_->step(patience);
  for (User* user : std::exchange(answering_, {})) user->answering = false;
  meet(server_, false);
  meet(unixServer_, false);
  meet(secureServer_, true);
  pump();
}

void Player::meet(sim::Server& server, bool secure) {
  while (const std::optional<sim::Peer> peer = server.accept()) {
    PeerEnd& end = newPeer(*peer);
    if (secure && (tls_ & 2) != 0) seal(end, Far::Role::server);
  }
}

void Player::elapse(uint64_t milliseconds) {
  const uint64_t until = now() + milliseconds * kMillisecond;
  kernel_.after(std::chrono::milliseconds(milliseconds), [this] { kernel_.interrupt(); });
  for (uint64_t turns = 0; now() < until && !failure_; ++turns) {
    step(24h);
    if (!expect(turns < kTurnLimit, "the reactor spins and time stands still")) return;
  }
}

void Player::settle() {
  uint64_t turns = 0;
  do {
    step();
    if (!expect(++turns < kTurnLimit, "the reactor spins")) return;
  } while (!failure_ && (kernel_.eventPending() || owned_->nextDeadline() == 0ms));
}

void Player::calm() {
  calm_ = true;
  kernel_.chaos({});
  kernel_.descriptorLimit(kEnough);
  faulty_ = fewDescriptors_ = false;
}

void Player::rage() {
  calm_ = false;
  chaos_.seed += 1;
  faulty_ = chaos_.noDescriptors > 0 || noMemory();
  if (program_.chaos != 0) kernel_.chaos(chaos_);
}

}  // namespace warren::swarm
