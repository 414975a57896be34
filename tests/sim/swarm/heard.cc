// What handlers are told, and whether it may be so.
#include <algorithm>
#include <cerrno>

#include "net/token.h"
#include "player.h"

namespace warren::swarm {

// The handler may go while it runs only if its table is kept for so long; what is used after the
// reaction is therefore copied first.
template <class Check>
void Player::Hook::run(SocketHandle socket, When when, const Check& check) const {
  Player& all = *player;
  const int number = table;
  User* user = all.heard(socket, number, when);
  if (user == nullptr) return;
  check(*user);
  if (when != When::count) all.react(when, *user);
  all.expect(all.tables_[static_cast<size_t>(number)],
             "a handler table was freed while one of it ran");
}

SocketHandlers<Tag> Player::handlers(Group& group) {
  const size_t number = tables_.size();
  tables_.push_back(true);
  group.table = static_cast<int>(number);
  const Hook hook{this, group.table, std::shared_ptr<TableLife>(new TableLife{*this, number})};
  SocketHandlers<Tag> table;
  table.open = [hook](Socket<Tag> socket) {
    hook.run(socket, When::atOpen, [&](User& user) { hook.player->onOpen(user); });
  };
  table.data = [hook](Socket<Tag> socket, Bytes bytes) {
    hook.run(socket, When::atData, [&](User& user) { hook.player->onData(user, bytes); });
  };
  table.drain = [hook](Socket<Tag> socket) {
    hook.run(socket, When::atDrain, [&](User& user) { hook.player->onDrain(user); });
  };
  table.end = [hook](Socket<Tag> socket) {
    hook.run(socket, When::atEnd, [&](User& user) { hook.player->onEnd(user); });
  };
  table.close = [hook](Socket<Tag> socket, const Error& error) {
    hook.run(socket, When::atClose, [&](User& user) { hook.player->onClose(user, error); });
  };
  table.error = [hook](Socket<Tag> socket, const Error& error) {
    hook.player->onError(socket, error);
  };
  table.timeout = [hook](Socket<Tag> socket) {
    hook.run(socket, When::atTimeout, [&](User& user) { hook.player->onTimeout(user); });
  };
  table.connectError = [hook](Socket<Tag> socket, const Error& error) {
    hook.run(socket, When::atClose, [&](User& user) { hook.player->onConnectError(user, error); });
  };
  if (!group.listens) return table;
  table.handshake = [hook](Socket<Tag> socket, bool done, const Error& error) {
    hook.run(socket, When::atHandshake,
             [&](User& user) { hook.player->onHandshake(user, done, error); });
  };
  return table;
}

// Whom a handler was called for; accepted sockets are met here first.
User* Player::heard(SocketHandle handle, int table, When when) {
  Socket<Tag> socket(handle);
  Tag* tag = socket.findData();
  if (!expect(tag != nullptr, "a handler was called for a socket without Data")) return nullptr;
  if (tag->user < 0) {
    if (!expect(when == When::atOpen, "a handler was called before open")) return nullptr;
    const auto group = std::find_if(groups_.begin(), groups_.end(),
                                    [&](const Group& each) { return each.table == table; });
    if (!expect(group != groups_.end(), "a replaced handler was called")) return nullptr;
    tag->user = static_cast<int>(users_.size());
    User& fresh = newUser(*group);
    fresh.socket = socket;
    fresh.accepted = true;
  }
  User& user = users_[static_cast<size_t>(tag->user)];
  if (user.socket == SocketHandle()) user.socket = socket;
  expect(user.socket == handle, user, "a handler was called with another socket's Data");
  expect(user.group->table == table, user, "a replaced handler was called");
  expect(user.live(), user, "a handler was called after the last one");
  const bool first = when == When::atOpen || when == When::atClose || when == When::atTimeout;
  expect(user.opened || first, user, "a handler was called before open");
  refresh(user);
  return failure_ ? nullptr : &user;
}

void Player::react(When when, User& user) {
  // The answer to the peer's end follows the handler that was told of it, whatever that does, or the last
  // drain that is owed.
  struct Answer {
    User* user;
    uint64_t now;
    std::vector<User*>& answering;
    ~Answer() {
      if (user == nullptr || user->group->halfOpen) return;
      if (!user->boundedAt) user->boundedAt = now;
      if (user->drainOwed || std::exchange(user->finished, true)) return;
      user->answering = true;
      answering.push_back(user);
    }
  };
  const bool answers = when == When::atEnd || (when == When::atDrain && user.endTold);
  const Answer answer{answers ? &user : nullptr, now(), answering_};
  std::deque<Operation>& waiting = reactions_[static_cast<size_t>(when)];
  if (waiting.empty() || failure_) return;
  const Operation operation = waiting.front();
  waiting.pop_front();
  if (operation.verb == Verb::throws) {
#if WARREN_LIBRARY_EXCEPTIONS
    ++thrown_;
    throw 7;
#endif
  }
  doVerb(operation, &user);
}

// A listener's handshake that failed has nobody else to tell.
void Player::onError(SocketHandle socket, const Error& error) {
  const bool late = error.isErrno(ETIMEDOUT) && error.step() == Step::handshake;
  if (late) expect(mayTimeOut(findKernel(socket), 0), "a handshake timed out for no reason");
  if (tls_ != 0) return;
  expect(++errors_ <= thrown_, "error was called though nothing was thrown");
}

void Player::onOpen(User& user) {
  expect(!user.opened, user, "open was called twice");
  user.opened = true;
  ++opened_;
  user.kernel = findKernel(user.socket);
  if (!expect(user.kernel != nullptr, user, "an open socket is not watched")) return;
  ends_[user.kernel] = &user;
  if (user.finished && !user.group->halfOpen) user.boundedAt = now();
  user.sealedAt = now();
  refresh(user);
  if (user.sealed && !user.group->listens)
    expect(user.agreed, user, "open was called before the handshake was done");
}

sim::KernelSocket* Player::findKernel(SocketHandle socket) {
  for (const auto& [fd, entry] : queue().entries) {
    if (entry->token == socket.number()) return entry->socket;
  }
  return nullptr;
}

void Player::onData(User& user, Bytes bytes) {
  expect(!user.muted, user, "data was called after shutdown(read)");
  expect(!user.paused || shaky(user), user, "data was called in a pause");
  expect(!user.endTold, user, "data was called after end");
  expect(!bytes.empty(), user, "data was called with nothing");
  expect(!shaking(user), user, "data was called before the handshake was done");
  receive(user, bytes);
  if ((tls_ & 2) == 0 || user.sealed) return;
  user.heard = asText(bytes);
  const bool eager = user.key % 2 == 0;  // to answer TLS with TLS
  if (!user.early.empty() && eager && !over_) {
    static_cast<void>(tryUpgrade(user, asBytes(user.early), Leftover::feed));
  }
}

void Player::receive(End& end, Bytes bytes) {
  const End* from = otherOf(end);
  const bool stranger = from == nullptr && end.user == nullptr && peerOf(end).meddled;
  if (stranger) return;  // an alert, to somebody who speaks no TLS
  if (!expect(from != nullptr, "bytes came from nobody")) return;
  if (!end.sealed && from->sealed) {
    const size_t plain =
        static_cast<size_t>(std::min<uint64_t>(bytes.size(), from->plainSent - end.received));
    end.early += asText(bytes.subspan(plain));
    bytes = bytes.first(plain);
  }
  for (size_t at = 0; at < bytes.size(); ++at) {
    if (static_cast<char>(bytes[at]) == byteOf(from->key, end.received + at)) continue;
    expect(false, "bytes of " + std::to_string(from->key) +
                      " came lost, doubled or in another order at " +
                      std::to_string(end.received + at));
    return;
  }
  end.received += bytes.size();
}

void Player::onDrain(User& user) {
  expect(user.drainOwed, user, "drain was called though nothing was refused, or twice");
  expect(user.socket.unsentBytes() == 0, user, "drain was called with bytes still queued");
  expect(!user.finished, user, "drain was called after the end");
  user.drainOwed = false;
}

void Player::onEnd(User& user) {
  const End* other = otherOf(user);
  expect(!user.endTold, user, "end was called twice");
  expect(!user.muted, user, "end was called after shutdown(read)");
  expect(!user.paused || shaky(user), user, "end was called in a pause");
  user.endTold = true;
  if (user.sealed && other != nullptr) {
    return static_cast<void>(expect(endedTls(user), user, "end was called without close_notify"));
  }
  const bool cut = user.kernel->resetReceived;
  // Whoever could not be accepted for want of something was there and is gone.
  if (other == nullptr)
    return static_cast<void>(expect(user.received == 0, user, "an end of nobody"));
  const User* peer = other->user;
  const bool implied =
      peer != nullptr && (!peer->group->halfOpen || peer->group->draining || !peer->live());
  const bool said =
      other->finished || (peer == nullptr && (peerOf(*other).cut || peerOf(*other).meddled));
  expect(said || implied || cut, user, "end was called though the peer goes on");
  // Nor is there a reset between unix sockets.
  const bool abrupt = user.kernel->family == Family::unix && peer != nullptr && !peer->live();
  expect(cut || abrupt || user.received == sentTo(user), user, "bytes were lost before end");
}

void Player::onClose(User& user, const Error& error) {
  expect(user.opened, user, "close was called without open");
  user.closed = true;
  ++closed_;
  user.failed = static_cast<bool>(error);
  user.unsent = user.socket.unsentBytes();
  user.closedAt = now();
  if (mayClose(user, error)) return;
  expect(false, user, "close was called without a reason: " + error.message());
}

// Whether the model knows why it closed like this.
bool Player::mayClose(const User& user, const Error& error) const {
  const End* other = otherOf(user);
  const bool peerDone = user.endTold || user.muted;
  if (user.sealed && error) {
    const bool late = error.isErrno(ETIMEDOUT) && error.step() == Step::handshake;
    if (late) return mayTimeOut(user.kernel, user.sealedAt);
    if (error.origin() == Origin::tls) return mayFailTls(user, error);
  }
  if (!error) {
    if (user.ending || user.group->draining || user.unagreed) return true;
    const bool cut = user.kernel->family == Family::unix && other != nullptr &&
                     other->user != nullptr && !other->user->live();
    const bool tolerated = user.sealed && user.group->manner.tolerant && other != nullptr &&
                           other->user == nullptr && (peerOf(*other).cut || peerOf(*other).meddled);
    const bool whole = user.muted || cut || tolerated || user.received == sentTo(user);
    // Without a call of `end`, too, the socket has answered the peer's end with its own.
    const bool said = user.finished || (user.muted && !user.group->halfOpen);
    return peerDone && said && user.unsent == 0 && whole;
  }
  if (error.isErrno(ETIMEDOUT) && error.step() == Step::timeout) {
    return user.timedOut;
  }
  if (error.isErrno(ETIMEDOUT) && error.step() == Step::linger) {
    // One that is muted is not told of the peer's end, which bounds it too.
    const bool answered = user.muted && !user.group->halfOpen;
    const bool ended = user.finished || user.boundedAt || user.group->draining;
    return answered ||
           (ended && (!user.boundedAt || now() >= *user.boundedAt + kLinger * kMillisecond));
  }
  if (error.is(Usage::tooMuch)) {
    const bool writing = error.step() == Step::write;
    return writing ? mayBeTooMuch(user) : user.group->lingerBytes < 100'000;
  }
  return shaky(user);
}

bool Player::mayBeTooMuch(const User& user) const {
  return std::min(user.group->maxQueued, maxQueued_) < kAmple;
}

void Player::onTimeout(User& user) {
  const bool due = user.timeoutAt && now() >= *user.timeoutAt;
  expect(due, user, "timeout was called early, or without being set");
  user.timedOut = true;
}

void Player::onConnectError(User& user, const Error& error) {
  expect(!user.opened, user, "connectError was called after open");
  user.refused = true;
  user.finished = true;
  ++refused_;
  if (!expect(static_cast<bool>(error), user, "connectError came without an error")) return;
  const sim::KernelSocket* kernel = user.sealed ? findKernel(user.socket) : nullptr;
  if (error.origin() == Origin::tls) {
    const auto found = kernel != nullptr ? ends_.find(kernel->other) : ends_.end();
    const bool peer = found != ends_.end() && found->second->user == nullptr;
    expect(!peer || peerOf(*found->second).meddled || noMemory(), user,
           "a handshake failed for no reason: " + error.message());
  } else if (error.isErrno(ETIMEDOUT) && error.step() == Step::handshake) {
    expect(mayTimeOut(kernel, 0), user, "a handshake timed out for no reason");
  } else if (error.isErrno(ECANCELED)) {
    expect(user.ending, user, "connectError says it was cancelled");
  } else if (error.isErrno(ETIMEDOUT) && error.step() == Step::timeout) {
    expect(user.timeoutAt && now() >= *user.timeoutAt, user, "a connect timed out early");
  } else if (error.is(Usage::tooMuch)) {
    expect(mayBeTooMuch(user), user, "connectError says that too much was queued");
  } else if (user.sure && program_.chaos == 0 && !error.isErrno(ECONNRESET)) {
    expect(everFew_, user, "connecting failed for no reason: " + error.message());
  }
}

// --- peers -----------------------------------------------------------------------------------------

void Player::readPeer(PeerEnd& peer, size_t most) {
  if (peer.gone) return;
  const std::string text = peer.peer.read(most);
  if (!text.empty()) peer.sealed ? readSealed(peer, text) : receive(peer, asBytes(text));
  checkPeerEnd(peer);
}

// Whole or visibly broken: a FIN says that all of it came, a reset has a reason.
void Player::checkPeerEnd(PeerEnd& peer) {
  const End* other = otherOf(peer);
  const User* user = other != nullptr ? other->user : nullptr;
  if (peer.peer.wasReset()) {
    const bool excused = peer.meddled || user == nullptr || resetExcused(*user);
    if (!excused) expect(false, *user, "the peer was reset for no reason");
    return;
  }
  if (!peer.peer.ended() || std::exchange(peer.endSeen, true)) return;
  if (user == nullptr) {
    expect(peer.received == 0, "bytes came from a socket that was never open");
    return;
  }
  expect(user->finished || !user->live() || user->group->draining, *user,
         "the peer was told an end that nobody has said");
  if (user->sealed) return checkSealedEnd(peer, *user);
  const bool visible =
      peer.kernel->family != Family::unix;  // there is no reset between unix sockets
  const bool whole = peer.received == user->sent;
  expect(whole || (!visible && (user->terminated || user->unsent > 0 || !user->live())), *user,
         "the peer takes a part for the whole");
}

bool Player::resetExcused(const User& user) const {
  if (chaos_.resets > 0 || chaos_.noBuffers > 0 || noMemory() || user.terminated || user.failed)
    return true;
  if (user.group->draining || user.unagreed || shaking(user)) return true;
  if (user.live()) return false;
  // Closed by its user: what was accepted is delivered, for as long as the peer takes it.
  const uint64_t since = std::min(user.closedAt, user.boundedAt.value_or(user.closedAt));
  const bool limits = now() >= since + kLinger * kMillisecond || user.group->lingerBytes < 100'000;
  return limits || user.sent == 0 || user.endTold || user.muted;
}

// --- who is there ----------------------------------------------------------------------------------

End* Player::otherOf(const End& end) const {
  if (end.kernel == nullptr || end.kernel->other == nullptr) return nullptr;
  const auto found = ends_.find(end.kernel->other);
  return found != ends_.end() ? found->second : nullptr;
}

// Something has happened to the connection that may break it at the next call, or a drain ends it.
bool Player::shaky(const User& user) const {
  if (user.answering || chaos_.noBuffers > 0 || noMemory() || user.kernel == nullptr ||
      user.group->draining)
    return true;
  const sim::KernelSocket& socket = *user.kernel;
  if (user.sealed && sealedShaky(user)) return true;
  if (socket.phase != sim::Phase::connected || socket.resetReceived || socket.error != 0)
    return true;
  if (socket.family == Family::unix && socket.other->orphan) return true;  // a broken pipe
  // One that hears nothing answers the peer's end without a word.
  if (user.muted && !user.group->halfOpen && socket.finReceived) return true;
  return socket.writeShut && !user.finished;
}

}  // namespace warren::swarm
