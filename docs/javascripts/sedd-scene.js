// Romeo and Juliet, Act 2, Scene 2, in the 27 letters of text8: what the source of the page of week 9 is counted from.

export const SCENE = `
but soft what light through yonder window breaks it is the east and juliet is the sun arise fair sun and kill the
envious moon who is already sick and pale with grief be not her maid since she is envious her vestal livery is but
sick and green and none but fools do wear it cast it off it is my lady o it is my love o that she knew she were she
speaks yet she says nothing what of that her eye discourses i will answer it i am too bold tis not to me she speaks
two of the fairest stars in all the heaven having some business do entreat her eyes to twinkle in their spheres till
they return what if her eyes were there they in her head the brightness of her cheek would shame those stars as
daylight doth a lamp her eyes in heaven would through the airy region stream so bright that birds would sing and
think it were not night see how she leans her cheek upon her hand o that i were a glove upon that hand that i might
touch that cheek ay me o speak again bright angel for thou art as glorious to this night being oer my head as is a
winged messenger of heaven unto the white upturned wondering eyes of mortals that fall back to gaze on him when he
bestrides the lazy pacing clouds and sails upon the bosom of the air o romeo romeo wherefore art thou romeo deny thy
father and refuse thy name or if thou wilt not be but sworn my love and ill no longer be a capulet tis but thy name
that is my enemy thou art thyself though not a montague whats montague it is nor hand nor foot nor arm nor face nor
any other part belonging to a man o be some other name whats in a name that which we call a rose by any other name
would smell as sweet so romeo would were he not romeo calld retain that dear perfection which he owes without that
title romeo doff thy name and for that name which is no part of thee take all myself call me but love and ill be new
baptized henceforth i never will be romeo what man art thou that thus bescreend in night so stumblest on my counsel
by a name my name dear saint is hateful to myself because it is an enemy to thee had i it written i would tear the
word my ears have not yet drunk a hundred words of that tongues utterance yet i know the sound art thou not romeo
and a montague neither fair saint if either thee dislike how camest thou hither tell me and wherefore the orchard
walls are high and hard to climb and the place death considering who thou art if any of my kinsmen find thee here
with loves light wings did i oer perch these walls for stony limits cannot hold love out and what love can do that
dares love attempt therefore thy kinsmen are no let to me if they do see thee they will murder thee alack there lies
more peril in thine eye than twenty of their swords look thou but sweet and i am proof against their enmity i would
not for the world they saw thee here i have nights cloak to hide me from their sight and but thou love me let them
find me here my life were better ended by their hate than death prorogued wanting of thy love by whose direction
foundst thou out this place by love who first did prompt me to inquire he lent me counsel and i lent him eyes i am
no pilot yet wert thou as far as that vast shore washd with the farthest sea i would adventure for such merchandise
thou knowst the mask of night is on my face else would a maiden blush bepaint my cheek for that which thou hast
heard me speak to night fain would i dwell on form fain fain deny what i have spoke but farewell compliment dost
thou love me i know thou wilt say ay and i will take thy word yet if thou swearst thou mayst prove false at lovers
perjuries then say jove laughs o gentle romeo if thou dost love pronounce it faithfully or if thou thinkst i am too
quickly won ill frown and be perverse an say thee nay so thou wilt woo but else not for the world in truth fair
montague i am too fond and therefore thou mayst think my havior light but trust me gentleman ill prove more true
than those that have more cunning to be strange i should have been more strange i must confess but that thou
overheardst ere i was ware my true loves passion therefore pardon me and not impute this yielding to light love
which the dark night hath so discovered lady by yonder blessed moon i swear that tips with silver all these fruit
tree tops o swear not by the moon the inconstant moon that monthly changes in her circled orb lest that thy love
prove likewise variable what shall i swear by do not swear at all or if thou wilt swear by thy gracious self which
is the god of my idolatry and ill believe thee if my hearts dear love well do not swear although i joy in thee i
have no joy of this contract to night it is too rash too unadvised too sudden too like the lightning which doth
cease to be ere one can say it lightens sweet good night this bud of love by summers ripening breath may prove a
beauteous flower when next we meet good night good night as sweet repose and rest come to thy heart as that within
my breast o wilt thou leave me so unsatisfied what satisfaction canst thou have to night the exchange of thy loves
faithful vow for mine and yet i would it were to give again wouldst thou withdraw it for what purpose love but to be
frank and give it thee again my bounty is as boundless as the sea my love as deep the more i give to thee the more i
have for both are infinite i hear some noise within dear love adieu anon good nurse sweet montague be true stay but
a little i will come again o blessed blessed night i am afeard being in night all this is but a dream too flattering
sweet to be substantial three words dear romeo and good night indeed if that thy bent of love be honourable thy
purpose marriage send me word to morrow by one that ill procure to come to thee where and what time thou wilt
perform the rite and all my fortunes at thy foot ill lay and follow thee my lord throughout the world i come anon
but if thou meanst not well i do beseech thee by and by i come to cease thy suit and leave me to my grief to morrow
will i send so thrive my soul a thousand times good night a thousand times the worse to want thy light love goes
toward love as schoolboys from their books but love from love toward school with heavy looks hist romeo hist o for a
falconers voice to lure this tassel gentle back again bondage is hoarse and may not speak aloud else would i tear
the cave where echo lies and make her airy tongue more hoarse than mine with repetition of my romeos name how silver
sweet sound lovers tongues by night like softest music to attending ears romeo my dear at what oclock to morrow
shall i send to thee at the hour of nine i will not fail tis twenty years till then i have forgot why i did call
thee back let me stand here till thou remember it i shall forget to have thee still stand there remembering how i
love thy company and ill still stay to have thee still forget forgetting any other home but this tis almost morning
i would have thee gone and yet no further than a wantons bird who lets it hop a little from her hand like a poor
prisoner in his twisted gyves and with a silk thread plucks it back again so loving jealous of his liberty i would i
were thy bird sweet so would i yet i should kill thee with much cherishing good night good night parting is such
sweet sorrow that i shall say good night till it be morrow sleep dwell upon thine eyes peace in thy breast would i
were sleep and peace so sweet to rest hence will i to my ghostly fathers cell his help to crave and my dear hap to
tell
`;
